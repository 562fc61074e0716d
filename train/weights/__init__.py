"""Weights in a Hugging Face model folder, in and out, one tensor at a time.

names.py         how a family calls its weights: flat, and nested as in transformers
files.py         folder -> `StoredWeight`s, not yet read; `WeightToWrite`s -> one safetensors file
writer.py        who writes; `WeightToWrite`s -> one file, or several and their index
parts.py         what a rank holds of a weight
header.py        the header of a safetensors file, checked
companions.py    which files of a model folder are read and copied
bfloat16.py      float32 -> the bits of bfloat16
parameters.py    folder -> `Weight`s on the device, and back; the one module here that needs MindSpore
"""
