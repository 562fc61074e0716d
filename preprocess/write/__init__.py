"""From the plan to a published dataset.

| stage | module | in -> out |
| --- | --- | --- |
| materialise | `materialise.py` | packs of one shard, as planned -> the shard, its sidecar, the places of its media |
| places | `places.py` | where the patches of each medium stand <-> `plan/media/shard-N.arrow` |
| reuse | `index.py`, `reuse.py` | places of an earlier run, sorted; a medium -> its patches, where it was decoded |
| publish | `publish.py` | sidecars of all shards -> `rejects.jsonl`, `model/`, `manifest.json` |
"""
