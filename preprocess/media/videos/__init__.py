"""Videos: headers and frames, whatever they lie in.

| module | in -> out |
| --- | --- |
| `frames.py` | a file or a list of pictures -> header, planned frames: what others call |
| `video.py` | a container -> its header, its frames by number |
| `containers.py` | a file -> an opened container, if its format is data |
| `upright.py` | a decoded frame -> upright RGB |
"""
