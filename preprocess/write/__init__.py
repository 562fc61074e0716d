"""From the plan to a published dataset.

| stage | module | in -> out |
| --- | --- | --- |
| materialise | `materialise.py` | packs of one shard, as planned -> the shard, its sidecar, the places of its media |
| reuse | `reuse.py` | a measured medium, an earlier run -> its patches, where they were decoded before |
| publish | `publish.py` | sidecars of all shards -> `rejects.jsonl`, `model/`, `manifest.json` |
"""
