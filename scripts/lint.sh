#!/usr/bin/env bash
# Style, formatting and types.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment dev
cd "$root"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
