"""Certify: samples drawn from finished shards, beside what Hugging Face's processor makes of the same files and texts.

    draw       OUTPUT_DIR -> Drawn      random samples: what the plan says of each, and its row in the shards
    task       Drawn -> FOLDER          media, turns and limits, for a process with torch and transformers
               FOLDER -> FOLDER         scripts/certify/reference.py, in the environment of scripts/certify.sh
    compare    Drawn, FOLDER -> Found   per part equal, another by a named choice of the specification, or unexplained
    section    Found -> certificate     the table, certificate.json, certificate.html (`shards/look/certificate.py`)

Nothing here imports torch or transformers, and nothing there imports this project.
"""
