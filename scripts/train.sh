#!/usr/bin/env bash
# Train from a folder of shards: bash scripts/train.sh DIR --model DIR --output_dir DIR [--nproc N] [flags of python -m train]
# DIR is the OUTPUT_DIR of `python -m preprocess run`. Works from any folder; paths are relative to the current one.
# Starts a process for each NPU, or as many as --nproc says. Several nodes: run it on each, with NNODES, NODE_RANK,
# MASTER_ADDR and MASTER_PORT set, or once by `srun --ntasks-per-node=1`.
set -euo pipefail
if [ $# -eq 0 ] || { [ "${1#-}" != "$1" ] && [ "$1" != --help ]; }; then
    echo "usage: bash scripts/train.sh DIR --model DIR --output_dir DIR [--nproc N] [flags]; --help lists the flags" >&2
    exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment=$root/.venv
setup=$root/scripts/setup.sh
case " $* " in
    *" --backend mindnlp "* | *" --backend=mindnlp "*)
        environment=$root/.venv-mindnlp
        setup="$setup --mindnlp"
        ;;
esac
python=$environment/bin/python
if [ ! -x "$python" ]; then
    python=python3
    if ! "$python" -c 'from importlib.util import find_spec; import sys; sys.exit(find_spec("mindspore") is None)' 2>/dev/null; then
        echo "error: $environment isn't there, and $python has no mindspore; bash $setup makes it" >&2
        exit 2
    fi
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1 # a package called train or shards in the current folder is not ours
[ "$1" = --help ] && exec "$python" -m train launch --help
exec "$python" -m train launch --shards "$@"
