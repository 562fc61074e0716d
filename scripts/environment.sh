# Sourced by the other scripts: makes or reuses .venv with the tested set of versions, and sets $python.
# Usage: . scripts/environment.sh; prepare_environment [EXTRA...]; prepare_oracle where torch is needed
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python

prepare_environment() {
    local extras wanted stamp base
    extras=$(IFS=,; echo "$*")
    stamp=$root/.venv/.installed${extras:+-$extras}
    wanted=$(cat "$root/setup.cfg" "$root/constraints.txt" | sha256sum)
    # What was installed with extras serves without them too.
    if [ -x "$python" ] && grep -qsF "$wanted" "$stamp"*; then
        build_library
        return
    fi
    if [ ! -x "$python" ]; then
        base=$(find_python)
        "$base" -m venv "$root/.venv"
    fi
    check_version "$python"
    echo "installing into .venv (about 3.5 GB, mostly MindSpore; a minute or two)" >&2
    "$python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$root/constraints.txt" --editable "$root${extras:+[$extras]}"
    build_library
    echo "$wanted" > "$stamp"
}

# Makes or reuses .venv-oracle, with torch and transformers, and sets $oracle to its Python: what results are compared with
# and benchmarks measured against. It has the extra `oracle` without what the project itself needs, and decoders and
# Pillow in the versions of .venv. 1 GB with a CPU build of torch, 5 GB with CUDA's: pip's index decides which.
prepare_oracle() {
    local wanted names
    oracle=$root/.venv-oracle/bin/python
    wanted=$(oracle_packages)
    [ "$(cat "$root/.venv-oracle/.installed" 2>/dev/null)" != "$wanted" ] || return 0
    echo "making $root/.venv-oracle with torch and transformers; this takes some minutes" >&2
    "$python" -m venv --clear "$root/.venv-oracle"
    mapfile -t names <<<"$wanted"
    "$oracle" -m pip install --quiet --disable-pip-version-check "${names[@]}"
    echo "$wanted" > "$root/.venv-oracle/.installed"
}

oracle_packages() {
    "$python" - "$root/setup.cfg" <<'EOT'
import configparser
import sys
from importlib.metadata import distributions, version

config = configparser.ConfigParser()
config.read(sys.argv[1])
print(*config["options.extras_require"]["oracle"].split(), sep="\n")
there = {each.name for each in distributions()}
names = ("numpy", "pillow", "decord2", "av", *{"pillow_heif", "pillow-heif"}.intersection(there))
print(*(f"{name}=={version(name)}" for name in names), sep="\n")
EOT
}

# The C library beside its source, if it isn't there or older; without a compiler this says so, and goes on.
build_library() {
    local library=$root/preprocess/pixels/resize.native.so
    if [ ! -e "$library" ] || [ -n "$(find "$root"/setup.py "$root"/preprocess/pixels/*.[ch] -newer "$library")" ]; then
        (cd "$root" && "$python" setup.py --quiet build_ext --inplace --force) >&2
    fi
}

find_python() {
    local candidate
    for candidate in python3.11 python3 python; do
        if command -v "$candidate" >/dev/null && version_fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    check_version python3
}

version_fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
}

check_version() {
    if ! version_fits "$1"; then
        echo "error: this needs Python 3.11, for which all that it is tested with has wheels; this is" \
            "$("$1" --version 2>&1 || echo "no Python"); install it and run this script again" >&2
        exit 2
    fi
}
