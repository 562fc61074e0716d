"""Certify: packs of finished shards through the model, packed and each sample alone, here and in PyTorch.

task       OUTPUT_DIR, MODEL -> FOLDER     packs, their samples alone, and a model small enough for a CPU
           FOLDER -> FOLDER                scripts/certify/reference_model.py, in the environment of certify.sh
losses     FOLDER -> loss of each sample, by MindSpore
compare    both -> the half of the certificate that is of the model (`shards/look/certificate.py`)
"""
