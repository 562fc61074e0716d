"""What users type -> what a run is told.

command_line.py     flags and YAML -> `TrainArguments`, and notes
flags.py            flags of the Qwen scripts that are no field of it, and where each of them went
merge_command.py    flags of `python -m train merge` -> merged model folder
"""
