"""Packs -> new weights.

    stream.py       any items -> the same, made ahead in a thread
    step.py         `PaddedPack` -> `MicroBatch`; those of a step -> its sums and the norm of its gradient
    optimizer.py    batch -> gradients, added up; their sums and learning rates -> new weights: two compiled graphs
    graphs.py       a cell -> one compiled graph, kept in files for the next start
    groups.py       a model -> which parameters are trained, and how fast
    schedule.py     step -> share of the highest learning rate
    dealing.py      the packs of a step -> which rank takes which, so that none has much more to do than the others
    due.py          step -> whether something happens after it; how many epochs it is
    evaluate.py     other shards -> their loss, in a graph of its own
    replicas.py     what ranks hold whole -> an error where it differs
    peaks.py        device -> operations a second at most

They know a model as `train.models.trained.TrainedModel` alone.
"""
