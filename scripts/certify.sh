#!/usr/bin/env bash
# Certify a finished run against Hugging Face's processor and models, in two halves, whose certificate is one:
#     bash scripts/certify.sh --config run.yaml [--samples N] [flags]
# Makes .venv-oracle, with torch and transformers, the first time (1 GB with a CPU build of torch, 5 GB with CUDA's: the
# index that pip is configured for decides); it meets this project in files alone.
# The flags are those of `python -m preprocess certify --help`; the model's half looks at two packs. Works from any folder;
# paths are relative to the current one. The exit code is 1 where anything is unexplained.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment
prepare_oracle
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1 # a package called preprocess in the current folder is not ours
if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
    exec "$python" -m preprocess certify --help
fi
"$python" -m preprocess certify --oracle "$oracle" "$@" && code=0 || code=$?
[ "$code" -le 1 ] || exit "$code"
# Where the run is, and its model, from the same flags.
mapfile -t places < <("$python" - "$@" <<'EOT'
import sys

from preprocess.cli.certify_command import parse_certify

config = parse_certify(sys.argv[1:], lambda note: None).config
print(config.output_dir, config.model, sep="\n")
EOT
)
echo
"$python" -m train certify "${places[0]}" --model "${places[1]}" --oracle "$oracle" || code=$?
exit "$code"
