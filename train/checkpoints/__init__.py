"""What a run keeps, and where it starts.

    trainer_state.py    arguments, shards, model -> `RunIdentity`; `TrainerState` <-> trainer_state.json
    folder.py           state and contents -> checkpoint-N, whole or absent, and back to a verified `Checkpoint`
    resume.py           arguments, output_dir -> `Start`: step 0, or the checkpoint that is continued; or why not
    saving.py           model and optimizer on the device -> checkpoint, and back
    writers.py          how ranks write one file together
    export.py           model -> model folder, or with LoRA the folder of an adapter; of a checkpoint, and at the end

The first three need no MindSpore: they decide before it is loaded.
"""
