"""Media: from what an annotation says to upright pixels, whatever the bytes lie in.

| stage | function | in -> out |
| --- | --- | --- |
| locate | `store.locate`, by `paths.py` and `values/` | text in an annotation -> `MediaSource`, or a reject |
| stamp | `store.stamp_of` | source -> `MediaStamp`: size, opaque version, a hash on demand |
| open | `store.open_medium`, `store.local_path` | source -> seekable bytes; a file, where there is one |
| stamp and open | `store.open_stamped` | the same by one look, for measuring |
| measure | `images.measure_image`, `videos.frames.probe` | header -> size and grid; frame count, rate, size |
| decode | `images.encode_image`, `videos.frames.decode_video` | source -> patches (gh * gw, 588); frames (H, W, 3) |

`images.py` measures plain images by their first 4 KB, others by Pillow; what is special about formats of pictures
stands in `pictures/`. `videos/` opens those whose format is data, and turns their frames as a player would. Before
decoding, `store.check_unchanged` compares stamps. Messages call a source what `store.describe` says, and
`write/reuse.py` finds its old patches by `store.reuse_key`.

| kind of source | module | in an annotation |
| --- | --- | --- |
| a file of its own | `files.py` | its path |
| a file that no link may lead to (`follow_links: false`) | `confined_files.py` | its path |
| a member of an archive | `archives/members.py` | the path that it has there, or would have if unpacked |
| a list or folder of frames | `frame_lists.py` | a list of those above, which the reader makes one of |
| a file behind a URL | `remote_files.py` | its path below the URL |
| a cell of a Parquet file | `parquet_cells.py` | the cell, which the reader hands on as an `EmbeddedMedium` |
| a text in base64 in annotations | `values/inline.py` | the text, which the reader hands on as an `InlineMedium` |

`data_path.py` reads what a registry says of where media lie, `places.py` has its types, and `cache.py` is the folder
that archives have beside the output.

`row_groups.py` finds cells in any order.

Only these modules know kinds. A new kind is a module that gives what `store.Kind` says, and a line in `store.KINDS`.
"""
