"""What a manifest says, in tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shards import read_manifest
from shards.look.info import flatten, info_text


def test_the_manifest_in_tables(small_run: Path) -> None:
    manifest = read_manifest(small_run)
    text = info_text(manifest, small_run)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    num_bytes = sum(path.stat().st_size for path in small_run.glob("shard-*"))
    assert lines[0] == str(small_run)
    assert "format arrow, version 1" in lines
    assert f"fingerprint {manifest.fingerprint}" in lines
    assert f"packs {manifest.num_packs}" in lines
    [shards] = [line for line in lines if line.startswith("shards ")]
    assert shards.startswith(f"shards {len(manifest.shards)}, {num_bytes / (1 << 20):.1f} MiB (")
    used = manifest.totals.num_tokens / (manifest.num_packs * manifest.pack_length)
    assert f"tokens used {used:.1%} of 768 a pack" in lines
    assert f"windows {manifest.maxima.windows}" in lines
    assert "vocab_size 1024" in lines
    assert "config.max_pixels 100352" in lines
    [scenes] = [line for line in lines if line.startswith("scenes ")]
    assert scenes.split()[1] == str(manifest.datasets["scenes"].counts.num_samples)
    assert lines[lines.index("rejects by reason") + 1] == "none"


def test_inputs_are_named_by_their_path() -> None:
    record = {"config": {"a": 1, "b": {"c": 2, "d": "x\x1b"}}, "plain": None, "model": {"left": "out"}}
    assert list(flatten(record, skip="model")) == [
        ("config.a", "1"),
        ("config.b", "c 2, d x\\x1b"),
        ("plain", "None"),
    ]


def test_no_text_of_a_manifest_steers_the_terminal(small_run: Path) -> None:
    manifest, steering = read_manifest(small_run), "\x1b]0;title\x07\n\u202e"
    datasets = {steering + name: replace(dataset, rejects={steering: 1}) for name, dataset in manifest.datasets.items()}
    spoiled = replace(
        manifest, format=steering, fingerprint=steering, datasets=datasets, inputs={steering: {steering: steering}}
    )
    text = info_text(spoiled, small_run / steering)
    assert text.count(r"\x1b]0;title\x07\n\u202e") >= 7
    assert all(line.isprintable() for line in text.split("\n"))
