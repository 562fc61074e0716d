"""What a run will need, before anything is loaded or compiled. Loads no MindSpore.

memory     config.json, the manifest and the flags -> bytes of a device, for each zero_stage
report     the same as a table, with steps, tokens, disk and the kernel's limit: `python -m train preflight`
"""
