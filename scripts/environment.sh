# Sourced by the other scripts: makes or reuses an environment with the tested set of versions, and sets $python.
# Usage: . scripts/environment.sh; [use_mindnlp;] prepare_environment [EXTRA...]; prepare_oracle REQUIREMENT... where torch is
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment=$root/.venv
python=$environment/bin/python
contents="about 3.5 GB, mostly MindSpore; a minute or two"

# From here on, the environment is .venv-mindnlp: .venv and the extra mindnlp, which `--backend mindnlp` trains with.
use_mindnlp() {
    environment=$root/.venv-mindnlp
    python=$environment/bin/python
    contents="about 5 GB, MindSpore and torch, 10 where pip's index has no CPU build of torch; some minutes"
}

prepare_environment() {
    local extras wanted stamp base
    extras=$(IFS=,; echo "$*")
    stamp=$environment/.installed${extras:+-$extras}
    wanted=$(cat "$root/setup.cfg" "$root/constraints.txt" | sha256sum)
    # What was installed with extras serves without them too.
    if [ -x "$python" ] && grep -qsF "$wanted" "$stamp"*; then
        build_library
        return
    fi
    if [ ! -x "$python" ]; then
        base=$(find_python)
        "$base" -m venv "$environment"
    fi
    check_version "$python"
    # Most is there already, where something was installed before.
    compgen -G "$environment/.installed*" >/dev/null && contents="what is missing of it"
    echo "installing into $(basename "$environment") ($contents)" >&2
    "$python" -m pip install --quiet --disable-pip-version-check \
        --constraint <(constraints "$@") --editable "$root${extras:+[$extras]}"
    build_library
    echo "$wanted" > "$stamp"
}

# Datasets, which MindNLP imports, wants an fsspec of its own.
constraints() {
    if [[ " $* " == *" mindnlp "* ]]; then
        grep -v '^fsspec==' "$root/constraints.txt"
    else
        cat "$root/constraints.txt"
    fi
}

# Makes or reuses .venv-oracle with these requirements, torch and transformers among them, and sets $oracle to its Python:
# what results are compared with, and benchmarks. scripts/certify_needs.py says which; more may be there.
prepare_oracle() {
    local wanted
    oracle=$root/.venv-oracle/bin/python
    wanted=$(printf '%s\n' "$@" | sort)
    if [ -n "$(comm -23 <(echo "$wanted") <(sort "$root/.venv-oracle/.installed" 2>/dev/null))" ]; then
        echo "installing torch and transformers into $root/.venv-oracle; this takes some minutes, and 6 GB where pip's" \
            "index has no CPU build of torch (PIP_EXTRA_INDEX_URL names another index)" >&2
        [ -x "$oracle" ] || "$python" -m venv --clear "$root/.venv-oracle"
        rm -f "$root/.venv-oracle/.installed"
        PYTHONPATH='' "$oracle" -m pip install --quiet --disable-pip-version-check "$@"
        echo "$wanted" > "$root/.venv-oracle/.installed"
    fi
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
