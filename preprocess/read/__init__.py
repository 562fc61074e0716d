"""Read: from what people wrote down to samples. Of media, only cells of Parquet files are looked at: are there bytes?

| stage | module | in -> out |
| --- | --- | --- |
| choose | `registry.py` | registry file, `dataset_use` -> `DatasetUse`: dataset, copies of each record |
| read | `annotations.py`, `json_records.py`, `parquet_records.py` | annotation file -> raw records, one by one |
| recognise | `forms/` | raw record -> turns, and media as written; near misses of known keys are rejects |
| validate | `records.py` | raw record -> `Sample`, its media located by the store; or a reject |
"""
