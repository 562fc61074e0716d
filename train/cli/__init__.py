"""The command lines of python -m train.

| stage | input -> output |
| --- | --- |
| `flags` | a flag of the Qwen scripts that is no field of `TrainArguments` -> where it went |
| `command_line` | words and YAML files -> `TrainArguments` and notes, through `shards.flags` |
| `launch_command` | the words of `launch` -> the ranks of this node |
| `preflight_command` | the words of `preflight` -> what a run will need |
| `doctor_command` | the words of `doctor` -> the device to examine, or ranks that do |
| `certify_command` | the words of `certify` -> shards, model and packs to look at |
| `merge_command` | the words of `merge` -> a merged model |
"""
