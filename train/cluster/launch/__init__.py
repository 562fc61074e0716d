"""The launcher: starts the ranks of this node, and sees to it that none outlives the job.

devices      NPUs of this node
job          environment and --nproc -> Job: how many nodes and ranks, where they meet
nodes        the launchers of a job tell each other when all have come, when one failed, when all are done
processes    a rank or the scheduler: its environment, its log, its end
keeper       ends the processes of a launcher that was killed
launcher     starts all, passes signals on, ends all when one fails
scheduler    the process through which MindSpore's ranks find each other

A node has one launcher, started by scripts/train.sh. That of node 0 starts the scheduler too.
"""
