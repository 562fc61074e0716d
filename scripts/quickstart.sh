#!/usr/bin/env bash
# The main job on the built-in demo: make data, preprocess it, train a tiny model on it.
# Usage: bash scripts/quickstart.sh [--family qwen2_5_vl|qwen2_vl|qwen3_vl]
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
family=qwen2_5_vl
case "$#,${1:-}" in
    0,) ;;
    2,--family) family=$2 ;;
    1,--family=*) family=${1#--family=} ;;
    *) echo "usage: bash scripts/quickstart.sh [--family qwen2_5_vl|qwen2_vl|qwen3_vl]" >&2; exit 2 ;;
esac
prepare_environment
cd "$root"
work=build/quickstart
started=$SECONDS
cell=28 # pixels per side of a visual token
[ "$family" = qwen3_vl ] && cell=32
rm -rf "$work"

echo "== 1. demo data: pictures, clips, annotations, a tiny model with random weights"
"$python" scripts/demo "$work/demo" --family "$family"

echo
echo "== 2. preprocess: read, measure, pack, decode once, write shards"
"$python" -m preprocess run --config "$work/demo/run.yaml" --output_dir "$work/shards"

echo
echo "== 3. train: stream the packs, no decoding"
bash scripts/train.sh "$work/shards" --model "$work/demo/model" --output_dir "$work/trained" \
    --learning_rate 3e-3 --max_steps 60 --per_device_train_batch_size 1 --logging_steps 5

cat <<EOT

Done in $((SECONDS - started)) s. Next:
  .venv/bin/python -m preprocess report $work/shards --html $work/report.html      # look at it: sizes, rejects, packs
  .venv/bin/python -m shards show $work/shards --pack 0
  .venv/bin/python -m preprocess run --config $work/demo/run.yaml --max_pixels '64*$cell*$cell' \\
      --output_dir $work/smaller --reuse $work/shards      # again with smaller images
  .venv/bin/python -m preprocess run --config YOUR.yaml      # your own data: README.md, "Your own data"
  bash scripts/train.sh OUTPUT_DIR --model MODEL_DIR --output_dir trained
EOT
