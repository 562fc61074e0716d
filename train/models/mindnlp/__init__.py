"""MindNLP's Qwen2.5-VL as a `TrainedModel`, fed from the same packs: `--backend mindnlp`. Importing this loads neither.

inputs.py      Batch -> what its forward takes, without padding
networks.py    config.json -> its network, whose parameters are ours
model.py       the network as a `TrainedModel`: loss, gradients, weights

MindNLP (0.5.1) is transformers over a `torch` that it makes of MindSpore. Importing it puts that `torch` into this
process and changes MindSpore's Tensor, so that nothing here does so unless the flag is given.
"""
