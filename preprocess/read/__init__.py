"""Read: from what people wrote down to samples. No medium is opened, but cells of Parquet files, to see which hold bytes.

| stage | module | in -> out |
| --- | --- | --- |
| choose | `registry.py` (YAML by `strict_yaml.py`) | registry file, `dataset_use` -> `DatasetUse`: datasets, copies of records |
| read | `annotations.py`: `json_records.py`, `parquet_records.py` | annotation file -> raw records, one by one |
| recognise | `forms/` | raw record -> turns and media as written; near misses of known keys are rejects |
| validate | `records.py` | raw record -> `Sample`, its media located by the store, or a reject |
"""
