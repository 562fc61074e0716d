#!/usr/bin/env bash
# Train from a folder of shards: bash scripts/train.sh DIR --model DIR --output_dir DIR [flags of python -m train]
# DIR is the OUTPUT_DIR of `python -m preprocess run`. Works from any folder; paths are relative to the current one.
set -euo pipefail
if [ $# -eq 0 ] || { [ "${1#-}" != "$1" ] && [ "$1" != --help ]; }; then
    echo "usage: bash scripts/train.sh DIR --model DIR --output_dir DIR [flags]; --help lists the flags" >&2
    exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1 # a package called train or shards in the current folder is not ours
[ "$1" = --help ] && exec "$python" -m train --help
exec "$python" -m train --shards "$@"
