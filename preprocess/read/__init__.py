"""Read: from what people wrote down to samples. Of media, only cells of Parquet files are looked at: are there bytes?

| stage | module | in -> out |
| --- | --- | --- |
| list | `registry.py`, `python_registry.py`, `options.py` | registry files -> `Dataset`s by their names |
| choose | `dataset_use.py` | `dataset_use` -> `DatasetUse`: dataset, copies of each record |
| find files | `annotation_files.py` | `annotation_path` -> the files that it names |
| read | `annotations.py`, `formats/` | annotation files -> raw records, one by one |
| find again | `index.py` | annotation file -> hash, and where every 128th record begins, for array jobs |
| rename | `columns.py` | raw record -> the same under the names that forms know |
| recognise | `forms/` | raw record -> turns, and media as written; near misses of known keys are rejects |
| place | `tags.py` | turns -> turns with a tag for each medium that stands elsewhere or under another name |
| validate | `records.py` | raw record -> `Sample`, its media located by the store; or a reject |
"""
