"""Pictures: what is special about their formats, before Pillow has them and after.

| module | in -> out |
| --- | --- |
| `headers.py` | the first 4 KB of a plain file -> its size |
| `opening.py` | bytes -> an opened Pillow image, of the formats that are data |
| `png_chunks.py` | a PNG file -> the same without texts and profiles |
| `jpeg_end.py` | a JPEG file that lacks only its end -> the same with it |
| `heif.py` | HEIC and AVIF: who reads them |
| `upright.py` | an opened image -> its orientation; upright RGB or grey |
| `png_rows.py` | a decoded PNG -> whether rows are missing |

`rules.py` holds what a run chooses; `preprocess/media/images.py` puts all of it together.
"""
