"""Media: from what an annotation says to upright pixels, whatever the bytes lie in.

| stage | module | in -> out |
| --- | --- | --- |
| locate | `store.locate` (files: `paths.py`) | text in an annotation -> `MediaSource`, or a reject |
| stamp | `store.stamp_of` | source -> `MediaStamp`: size, version, on demand a hash |
| open | `store.open_medium`, `store.local_path` | source -> seekable bytes, or a file where there is one |
| measure | `images.measure_image`, `video.probe_video` | header -> size, grid; frame count and rate |
| decode | `images`, `video` | source -> upright RGB: patches (gh * gw, bytes), frames (F, H, W, 3) |

Messages call a source what `store.describe` says, and `write/reuse.py` finds its old patches by `store.reuse_key`.

| kind of source | module | names itself in an annotation as |
| --- | --- | --- |
| a file of its own | `files.py` | a path below `data_path` |
| a cell of a Parquet file | `parquet_cells.py` | the cell, which the reader hands on as an `EmbeddedMedium` |

Only these modules know kinds. A new kind is a module that gives what `store.Kind` says, and a line in `store.KINDS`.
"""
