#!/usr/bin/env bash
# Run the tests, on two processes. `bash scripts/test.sh --slow` runs the long proofs too; `--mindnlp` those that need
# MindNLP, and no others, in .venv-mindnlp, which it makes the first time. Other arguments go to pytest.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
arguments=()
extras=(dev)
for argument in "$@"; do
    case $argument in
        --slow) arguments+=(-m "slow or not slow") ;;
        --mindnlp)
            use_mindnlp
            extras=(mindnlp dev)
            arguments+=("$root/tests/train/models/mindnlp")
            ;;
        *) arguments+=("$argument") ;;
    esac
done
prepare_environment "${extras[@]}"
cd "$root"
exec "$python" -m pytest --numprocesses 2 --dist loadfile "${arguments[@]}"
