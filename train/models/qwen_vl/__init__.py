"""What the models of Qwen's families share: each of them is a vision tower, mergers and a language model. No family.

family.py          what a family offers before there is a model
names.py           how weights are called, and which group each belongs to
sizes.py           every weight by name and shape, and what else is counted before there is a model
flops.py           what a pack costs
tower.py           pieces of vision towers: patches -> embeddings, attention, blocks
language.py        embeddings -> hidden states
model.py           Batch -> sum of the cross entropy, as a `train.models.trained.TrainedModel`

What differs stands in the families' own folders: the vision tower and its shapes, and how the parts are put together.
What config.json says of them is read by `shards.architecture`. The first four load no MindSpore.
"""
