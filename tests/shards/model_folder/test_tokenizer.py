"""A model folder without tokenizer.json: the same ids from the files that were there before it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from demo_build import Demo
from tokenizers import Tokenizer

from shards.model_folder import ModelFolderError, read_tokenizer, tokenizer_files
from shards.verify import verify
from tests.preprocess.workshop import Workshop, talk

TEXTS = (
    "What is the total? It's 12.40 €, not  13!",
    "  leading\n\n and\ttrailing  \r\n",
    "价格是多少？é e\u0301 \u1fbe\u0308\u0301 👩‍👩‍👧 \u0000\u2028",
    "<|im_start|>user<|vision_start|><|image_pad|><|vision_end|><tool_call>",
)


@pytest.fixture
def older(demo: Demo, tmp_path: Path) -> Path:
    """The demo's model folder as transformers' slow tokenizer saves it."""
    folder = tmp_path / "model"
    shutil.copytree(demo.model, folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return folder


def test_the_older_files_give_the_ids_of_tokenizer_json(demo: Demo, older: Path) -> None:
    expected = Tokenizer.from_file(str(demo.model / "tokenizer.json"))
    made = Tokenizer.from_buffer(read_tokenizer(older))
    assert made.get_vocab() == expected.get_vocab()
    for special in (False, True):
        made.encode_special_tokens = expected.encode_special_tokens = special
        for text in TEXTS:
            assert made.encode(text).ids == expected.encode(text).ids
    ids = list(range(expected.get_vocab_size()))
    assert made.decode(ids, skip_special_tokens=True) == expected.decode(ids, skip_special_tokens=True)


def test_what_is_made_is_always_the_same(older: Path) -> None:
    assert read_tokenizer(older) == read_tokenizer(older)


def test_tokenizer_json_counts_where_it_is(demo: Demo, older: Path) -> None:
    shutil.copyfile(demo.model / "tokenizer.json", older / "tokenizer.json")
    assert tokenizer_files(older) == ("tokenizer.json",)
    assert read_tokenizer(older) == (demo.model / "tokenizer.json").read_bytes()


def test_a_folder_with_neither_asks_for_tokenizer_json(older: Path) -> None:
    (older / "merges.txt").unlink()
    with pytest.raises(ModelFolderError, match=r"tokenizer\.json: No such file"):
        read_tokenizer(older)


def replace_settings(folder: Path, **settings: object) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | settings), encoding="utf-8")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenizer_class": "LlamaTokenizer"}, "tokenizer_class is 'LlamaTokenizer'"),
        ({"tokenizer_class": None}, "tokenizer_class is None"),
        ({"added_tokens_decoder": None}, "'added_tokens_decoder' is None, not an object"),
        ({"added_tokens_decoder": {"x": {"content": "<x>"}}}, "not a token under its id"),
        ({"added_tokens_decoder": {"300": {"content": 5}}}, "not a token under its id"),
    ],
)
def test_other_tokenizers_are_not_guessed(older: Path, settings: dict[str, object], message: str) -> None:
    replace_settings(older, **settings)
    with pytest.raises(ModelFolderError, match=r"tokenizer_config\.json: ") as raised:
        read_tokenizer(older)
    assert message in str(raised.value)


def test_a_broken_merge_is_named_by_its_line(older: Path) -> None:
    with open(older / "merges.txt", "a", encoding="utf-8") as file:
        file.write("alone\n")
    number = len((older / "merges.txt").read_text(encoding="utf-8").splitlines())
    with pytest.raises(ModelFolderError, match=rf"merges\.txt, line {number}: 'alone' is not two tokens"):
        read_tokenizer(older)


def test_a_run_without_tokenizer_json_writes_the_shards_of_one_with_it(
    older: Path, demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop = Workshop(tmp_path, demo.model, capsys)
    workshop.dataset([talk(text) for text in TEXTS])
    expected = workshop.run(out="expected")
    made = workshop.run(f"--model={older}", out="made")
    assert made.code == 0, made.err
    assert [pack.input_ids.tolist() for pack in made.packs] == [pack.input_ids.tolist() for pack in expected.packs]
    assert (made.folder / "model" / "tokenizer.json").read_bytes() == read_tokenizer(older)
    assert verify(made.folder, quick=False, workers=0, on_shard=lambda total: None) == []
