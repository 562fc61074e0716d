"""The command line of python -m preprocess.

| stage | input -> output |
| --- | --- |
| `flags` | a flag of the Qwen scripts that is no field of `RunConfig` -> where it went |
| `arguments` | words and YAML files -> `RunConfig`, through `shards.flags` |
| `sweep_arguments` | the words of `plan` -> `RunConfig`, and the `Sweep` of configurations to compare |
| `certify_command` | the words of `certify` -> samples compared, and their certificate |
| `doctor` | this machine -> lines about versions, pixels and speeds |
| `commands` | the command that is asked for -> what it prints, its exit code |
"""
