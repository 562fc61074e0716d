"""Shards as files: `Pack`s in, `Pack`s out.

| module | in -> out |
| --- | --- |
| `arrow.py`, `mindrecord.py` | packs -> the files of one shard, and back, in any order |
| `mapped.py` | a path -> the plain file there, of the size that it must have |
| `kinds.py` | a format, or a file's name -> which of the two |
| `writer.py` | packs -> a shard under its name, whole and on the disk, then its sidecar |

FORMAT.md draws the bytes.
"""
