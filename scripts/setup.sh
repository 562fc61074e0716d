#!/usr/bin/env bash
# Make .venv for your own data and models: bash scripts/setup.sh [EXTRA...], an extra as in setup.cfg (tensorboard, ray, ...).
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment "$@"
cat <<EOT
$root/.venv is ready. Put its commands on your path, or call them by their place:
  . $root/.venv/bin/activate
  vl-preprocess run --help      # or $root/.venv/bin/vl-preprocess
  vl-shards --help
  vl-train --help
EOT
