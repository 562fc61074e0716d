"""Names of files and folders that more than one package knows.

OUTPUT_DIR/
  manifest.json, manifest.sha256    the dataset, its shards beside it
  certificate.json, .html           what `certify` found; removed with the manifest that they are of
  rejects.jsonl                     samples that were left out, and why
  model/                            config.json, tokenizer.json, preprocessor_config.json (or processor_config.json)
  plan/                             inputs.json, plan.json, and what else the run keeps
"""

from __future__ import annotations

MANIFEST_NAME = "manifest.json"
MANIFEST_HASH_NAME = "manifest.sha256"
CERTIFICATE_NAME, CERTIFICATE_PAGE_NAME = "certificate.json", "certificate.html"
LEDGER_NAME = "rejects.jsonl"

PLAN_DIR = "plan"
INPUTS_NAME = "inputs.json"  # in the plan's folder, as the next one
PLAN_NAME = "plan.json"

MODEL_DIR = "model"
CONFIG_NAME = "config.json"  # of a Hugging Face model folder, as the next two
TOKENIZER_NAME = "tokenizer.json"
PROCESSOR_NAME = "preprocessor_config.json"
ALL_PROCESSORS_NAME = "processor_config.json"  # of transformers 5, which holds that of images in a section
