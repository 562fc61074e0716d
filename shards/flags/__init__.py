"""How a command reads what it is told. One reader for all commands whose settings are the fields of a dataclass.

| stage | input -> output |
| --- | --- |
| `settings` | words of the command line, and YAML files -> `Setting`s, each with the place where it stands |
| `elsewhere` | a flag of the Qwen scripts -> the field that it is here, a note, or a refusal |
| `fields` | `Setting`s -> values of the fields of a dataclass, and notes |
| `values` | a text -> an `int`, `float`, `bool`, `Path`, ..., as the annotation of the field says |
| `nearest` | a misspelt name -> the one that was meant |
| `help` | a dataclass -> what `--help` prints |

A flag is described by its field alone: the name, the annotation, the default, and "help" in the metadata. Whether
values make sense together is the dataclass's own affair. What can't be understood is a `FlagError` of one line.
"""
