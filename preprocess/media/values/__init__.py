"""Values: what people write where a medium should be named, beside a path as it is on the disk.

| module | what |
| --- | --- |
| `spellings.py` | a text -> the paths that it may mean, in the order in which they are tried; or a reject |
| `inline.py` | media in base64: a kind of source |
| `names.py` | a path -> that of the same file under another case, or with accents composed otherwise |
"""
