#!/usr/bin/env bash
# Certify a finished run against Hugging Face's processor and models, in two halves, whose certificate is one:
#     bash scripts/certify.sh --config run.yaml [--samples N] [flags]
# Makes .venv-oracle, with torch and transformers, the first time; it meets this project in files alone. With a CPU build of
# torch it takes 1.3 GB, with CUDA's 6 GB: pip takes what its index offers. An index of CPU builds goes into PIP_INDEX_URL,
# or beside the usual one into PIP_EXTRA_INDEX_URL, a folder of wheels into PIP_FIND_LINKS. torchvision is installed where
# it is needed: with --against torchvision, and for Qwen3-VL.
# The flags are those of `python -m preprocess certify --help`; the model's half looks at two packs. Works from any folder;
# paths are relative to the current one. The exit code is 1 where anything is unexplained.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment
oracle=$root/.venv-oracle
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1 # a package called preprocess in the current folder is not ours
if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
    exec "$python" -m preprocess certify --help
fi

needs=$("$python" "$root/scripts/certify_needs.py" "$@")
mapfile -t needs <<<"$needs"
output_dir=${needs[0]} model=${needs[1]} wanted=$(printf '%s\n' "${needs[@]:2}" | sort)
# What was installed with torchvision serves without it too.
if [ -n "$(comm -23 <(echo "$wanted") <(sort "$oracle/.installed" 2>/dev/null))" ]; then
    echo "installing torch and transformers into $oracle; this takes some minutes, and 6 GB where pip's index has no CPU" \
        "build of torch (PIP_EXTRA_INDEX_URL names another index)" >&2
    [ -x "$oracle/bin/python" ] || "$python" -m venv --clear "$oracle"
    rm -f "$oracle/.installed"
    mapfile -t names <<<"$wanted"
    PYTHONPATH='' "$oracle/bin/python" -m pip install --quiet --disable-pip-version-check "${names[@]}"
    echo "$wanted" > "$oracle/.installed"
fi
"$python" -m preprocess certify --oracle "$oracle/bin/python" "$@" && code=0 || code=$?
[ "$code" -le 1 ] || exit "$code"
echo
"$python" -m train certify "$output_dir" --model "$model" --oracle "$oracle/bin/python" || code=$?
exit "$code"
