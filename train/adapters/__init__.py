"""LoRA: a model, or weights on disk -> the same with adapters.

files.py    the folder of an adapter, as PEFT has it -> `StoredAdapter`, and back
lora.py     a model and `lora_target_modules` -> `Adapters` beside its linear layers: start, dropout, save, load
merge.py    model folder + adapter folder -> model folder, without MindSpore
"""
