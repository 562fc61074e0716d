"""Running the jobs of a stage on processes that may crash or hang. Nothing here knows what a job is.

| module | what |
| --- | --- |
| `stage.py` | all that is known of a stage: load it, do a job of it, do one item (a sample) of a job |
| `executor.py` | jobs -> (job, result), on this process or on a pool of workers; who dies or hangs is replaced |
| `worker.py` | one worker process, and the process beside it in which items are done one at a time |
| `ray_executor.py` | the same on a Ray cluster |
| `share.py` | what one array job does of a run, and its claims on parts |
| `progress.py` | how far a stage is: a bar, or lines in a log |
| `signals.py` | SIGTERM and Ctrl-C end a run in order |
"""
