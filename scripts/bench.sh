#!/usr/bin/env bash
# Run the benchmarks: `bash scripts/bench.sh [--quick] [NAME...]`, all of scripts/bench/ where none is named.
# What a run without --quick prints is kept in scripts/bench/results/, with the machine and the versions.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment dev bench
cd "$root"
quick=
names=()
for argument in "$@"; do
    [ "$argument" = --quick ] && quick=--quick || names+=("$argument")
done
if [ ${#names[@]} = 0 ]; then
    for path in scripts/bench/*.py; do
        name=$(basename "$path" .py)
        [[ $name == bench_* ]] || names+=("$name") # modules that benchmarks share
    done
fi

describe() {
    local memory
    memory=$(awk '/MemTotal/ {printf "%.0f", $2 / 1048576}' /proc/meminfo)
    echo "$(date -u +%F), commit $(git rev-parse --short HEAD)$([ -z "$(git status --porcelain -- :/ ':!scripts/bench/results')" ] || echo " and changes")"
    echo "$(nproc) cores of $(lscpu | awk -F': *' '/Model name/ {print $2; exit}'), $memory GiB, $(uname -sm)"
    "$python" - <<'EOT'
import platform
from importlib.metadata import version

names = ("numpy", "pyarrow", "pillow", "tokenizers", "decord2", "av", "mindspore")
print(f"Python {platform.python_version()},", ", ".join(f"{name} {version(name)}" for name in names))
EOT
    echo
}

for name in "${names[@]}"; do
    echo "== $name"
    if [ -n "$quick" ]; then
        "$python" "scripts/bench/$name.py" --quick
    else
        mkdir -p scripts/bench/results
        { describe && "$python" "scripts/bench/$name.py"; } | tee "scripts/bench/results/$(date -u +%F)-$name.txt"
    fi
    echo
done
