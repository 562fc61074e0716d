"""Datasets for people to look at.

| module | in -> out |
| --- | --- |
| `info.py` | manifest -> what a dataset holds, as text |
| `show.py` | a pack -> its segments, text, labels and positions, for a terminal |
| `page.py`, `templates/`, `plots.py` | packs -> a page with pictures; `preprocess` extends the templates |
| `certificate.py` | what `certify` of `preprocess` or of `train` found -> certificate.json and its page |
| `transcript.py` | tokens of a segment -> pieces of text |
| `pictures.py` | stored patches -> pixels |
| `readable.py` | numbers, tables, and text that can't steer what shows it |
"""
