#!/usr/bin/env bash
# Certify a finished run against Hugging Face's processor and models, in two halves, whose certificate is one:
#     bash scripts/certify.sh --config run.yaml [--samples N] [flags]
# Makes .venv-oracle, with torch and transformers, the first time (1 GB with a CPU build of torch, 5 GB with CUDA's: the
# index that pip is configured for decides); it meets this project in files alone.
# The flags are those of `python -m preprocess certify --help`; the model's half looks at two packs. Works from any folder;
# paths are relative to the current one. The exit code is 1 where anything is unexplained.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment
oracle=$root/.venv-oracle

# The extra `oracle` without what the project itself needs; what decodes and resizes in the version of .venv.
packages() {
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

wanted=$(packages)
if [ "$(cat "$oracle/.installed" 2>/dev/null)" != "$wanted" ]; then
    echo "making $oracle with torch and transformers; this takes some minutes" >&2
    "$python" -m venv --clear "$oracle"
    mapfile -t names <<<"$wanted"
    "$oracle/bin/python" -m pip install --quiet --disable-pip-version-check "${names[@]}"
    echo "$wanted" > "$oracle/.installed"
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1 # a package called preprocess in the current folder is not ours
if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
    exec "$python" -m preprocess certify --help
fi
"$python" -m preprocess certify --oracle "$oracle/bin/python" "$@" && code=0 || code=$?
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
"$python" -m train certify "${places[0]}" --model "${places[1]}" --oracle "$oracle/bin/python" || code=$?
exit "$code"
