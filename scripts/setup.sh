#!/usr/bin/env bash
# Make .venv for your own data and models: bash scripts/setup.sh [EXTRA...], an extra as in setup.cfg (tensorboard, ray, ...).
# With --mindnlp it is .venv-mindnlp, which scripts/train.sh takes for --backend mindnlp (1.5 GB more).
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
extras=("$@")
if [ "${1-}" = --mindnlp ]; then
    use_mindnlp
    extras=(mindnlp "${@:2}")
fi
prepare_environment "${extras[@]}"
cat <<EOF
$environment is ready. Put its commands on your path, or call them by their place:
  . $environment/bin/activate
  vl-preprocess run --help      # or $environment/bin/vl-preprocess
  vl-shards --help
  vl-train --help
EOF
