"""`python -m train doctor`: does this machine compute what the trainer needs, and how fast. To be run first on NPUs.

checkup       the checks in turn, on every rank -> lines, exit code
findings      what a check found: ok, skipped or failed
machine       device, versions, and that all ranks have the same
collectives   what ranks exchange: right, and in what time
attention     the kernel of Ascend against `SequenceAttention`, that against NumPy; what changing segments cost
dropout       masks against NumPy's, and that they come again
one_step      a step of a tiny model at every zero_stage against stored.json; `tiny` is that model and its packs

What a device lacks is skipped, and said. No NPU has run this yet.
"""
