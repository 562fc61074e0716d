"""Which samples there are, how large they are, and which pack and shard each comes into. No pixel is decoded.

| stage | module | in -> out |
| --- | --- | --- |
| what a plan reads | `inputs.py`, `versions.py`; `indexes.py` for array jobs | `RunConfig` -> `Sources`, fingerprint |
| cut into parts | `parts.py`; `together.py` for array jobs | annotation files -> jobs of 512 records |
| measure | `measure.py` | a job -> `samples/part-N.arrow`: `MeasuredSample`s, what was counted and rejected |
| gather | `gather.py` | the parts, each read once -> sums, columns, rejects |
| pack | `sizes.py`, `packing.py` | columns of sizes -> the pack of each use of each sample |
| write down | `make.py`, `tables.py`, `summary.py` | packs -> `packs.arrow`, `tasks.arrow` (of shards), `plan.json` |
| what if | `sweep.py` | one measurement, many configurations -> a line each |

`holding.py`: whose run the folder holds, asked before anything gets its final name. `tables.py` lists every file of a
plan. `make.py` puts the stages in order.
"""
