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
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1 # a package called preprocess in the current folder is not ours
if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
    exec "$python" -m preprocess certify --help
fi

needs=$("$python" "$root/scripts/certify_needs.py" "$@")
mapfile -t needs <<<"$needs"
prepare_oracle "${needs[@]:2}"
output_dir=${needs[0]} model=${needs[1]}
"$python" -m preprocess certify --oracle "$oracle" "$@" && code=0 || code=$?
[ "$code" -le 1 ] || exit "$code"
echo
"$python" -m train certify "$output_dir" --model "$model" --oracle "$oracle" || code=$?
exit "$code"
