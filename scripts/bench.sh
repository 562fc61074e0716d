#!/usr/bin/env bash
# Run the benchmarks whose figures the READMEs show, and render their tables: `bash scripts/bench.sh`.
#     bash scripts/bench.sh --quick       the same in 12 minutes on 2 cores: says which ratios are more than 20% off those
#                                         of the READMEs, exit code 1 then, and keeps nothing
#     bash scripts/bench.sh [--quick] NAME...     of scripts/bench/: also those of parts/ (read, write, pixels, ...) and
#                                                 proofs/ (fuzz, interrupt, kill_ranks, ...)
# What a run without --quick prints is kept in scripts/bench/results/, with the machine and the versions. What results are
# compared with (torch, transformers) goes into .venv-oracle, the first time.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment dev bench
cd "$root"
quick=
names=()
for argument in "$@"; do
    [ "$argument" = --quick ] && quick=--quick || names+=("$argument")
done
[ ${#names[@]} != 0 ] || mapfile -t names < <("$python" scripts/bench/bench_table.py --benches)

describe() {
    local memory
    memory=$(awk '/MemTotal/ {printf "%.0f", $2 / 1048576}' /proc/meminfo)
    echo "$(date -u +%F), commit $(git rev-parse --short HEAD)$([ -z "$(git status --porcelain -- :/ ':!scripts/bench/results')" ] || echo " and changes")"
    echo "$(nproc) cores of $(lscpu | awk -F': *' '/Model name/ {print $2; exit}'), $memory GiB, $(uname -sm)"
    "$python" - <<'EOT'
import platform
from importlib.metadata import version

names = ("numpy", "pyarrow", "pillow", "tokenizers", "decord2", "av", "mindspore", "binpacking")
print(f"Python {platform.python_version()},", ", ".join(f"{name} {version(name)}" for name in names))
EOT
    echo
}

kept=scripts/bench/results
results=$(mktemp -d) # a benchmark that fails leaves nothing in the other folder
trap 'rm -r "$results"' EXIT
failed=()
for name in "${names[@]}"; do
    echo "== $name"
    started=$SECONDS
    path=$(find scripts/bench -name "$name.py")
    { { [ -n "$quick" ] || describe; } && "$python" "${path:?no benchmark has this name}" $quick; } | tee "$results/$name.txt" || failed+=("$name")
    if [ -z "$quick" ] && [[ " ${failed[*]} " != *" $name "* ]]; then
        cp "$results/$name.txt" "$kept/$(date -u +%F)-$name.txt"
    fi
    echo "($((SECONDS - started)) s)"
    echo
done
echo "$((SECONDS / 60)) minutes and $((SECONDS % 60)) seconds in all"
if [ -n "$quick" ]; then
    "$python" scripts/bench/bench_table.py --against "$results" || failed+=("the comparison with the READMEs")
else
    "$python" scripts/bench/bench_table.py
fi
if [ ${#failed[@]} != 0 ]; then
    echo "failed: $(printf '%s, ' "${failed[@]}" | sed 's/, $//')" >&2
    exit 1
fi
