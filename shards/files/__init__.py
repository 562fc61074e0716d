"""Files that are whole, and on the disk, or not there at all.

| module | what |
| --- | --- |
| `atomic.py` | content -> a file that appears under its name when all of it is on the disk |
| `hashing.py` | content hashes; files that are hashed while they are written |
"""
