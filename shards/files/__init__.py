"""Files that are whole, and on the disk, or not there at all.

| module | what |
| --- | --- |
| `atomic.py` | content -> a file that appears under its name when all of it is on the disk |
| `text.py` | text from data -> text that can be shown |
| `plain.py` | a path -> the plain file there, opened or copied; FIFOs, devices and unwanted links are refused |
| `records.py` | JSON that anyone may have changed -> values of checked types and ranges |
| `hashing.py` | content hashes; files that are hashed while they are written |
"""
