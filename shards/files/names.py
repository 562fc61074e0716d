"""Names of files and folders that more than one package knows.

OUTPUT_DIR/
  manifest.json, manifest.sha256    the dataset, its shards beside it
  rejects.jsonl                     samples that were left out, and why
  model/                            config.json, tokenizer.json, preprocessor_config.json (or processor_config.json)
  plan/                             inputs.json, plan.json, and what else the run keeps
"""

from __future__ import annotations

MANIFEST_NAME = "manifest.json"
MANIFEST_HASH_NAME = "manifest.sha256"
LEDGER_NAME = "rejects.jsonl"

PLAN_DIR = "plan"
INPUTS_NAME = "inputs.json"  # in the plan's folder, as the next one
PLAN_NAME = "plan.json"

MODEL_DIR = "model"
CONFIG_NAME = "config.json"  # of a Hugging Face model folder, as the next two
TOKENIZER_NAME = "tokenizer.json"
PROCESSOR_NAME = "preprocessor_config.json"
ALL_PROCESSORS_NAME = "processor_config.json"  # of transformers 5, which holds that of images in a section
