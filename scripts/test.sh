#!/usr/bin/env bash
# Run the tests, on two processes. `bash scripts/test.sh --slow` runs the long proofs too; other arguments go to pytest.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment dev
cd "$root"
arguments=()
for argument in "$@"; do
    [ "$argument" = --slow ] && arguments+=(-m "slow or not slow") || arguments+=("$argument")
done
exec "$python" -m pytest --numprocesses 2 --dist loadfile "${arguments[@]}"
