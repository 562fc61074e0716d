"""The command lines of python -m train.

| stage | input -> output |
| --- | --- |
| `flags` | a flag of the Qwen scripts that is no field of `TrainArguments` -> where it went |
| `command_line` | words and YAML files -> `TrainArguments` and notes, through `shards.flags` |
| `merge_command` | the words of `merge` -> a merged model |
"""
