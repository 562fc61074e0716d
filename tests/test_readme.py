"""The READMEs are true: their commands run on data like those they speak of, or at least parse; both say the same.

What needs NPUs, a queue, a cluster, minutes or another environment is parsed by the code that would run it.
"""

from __future__ import annotations

import configparser
import contextlib
import io
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from demo_build import Demo

from preprocess.cli.arguments import parse_config
from preprocess.cli.certify_command import parse_certify
from preprocess.cli.commands import main as preprocess
from preprocess.read.registry import read_registry
from shards import open_shards
from shards.__main__ import main as look
from shards.flags.fields import read_fields
from shards.flags.settings import read_settings
from train.__main__ import main as train
from train.cli.command_line import parse_command_line
from train.cli.launch_command import split_nproc
from train.cli.merge_command import MergeArguments

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh.md"
READMES = (ENGLISH, CHINESE, *sorted(ROOT.glob("*/README.md")), ROOT / "CONTRIBUTING.md")


@dataclass(frozen=True, kw_only=True)
class Block:
    language: str
    text: str

    def commands(self) -> Iterator[list[str]]:
        for line in self.text.splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def blocks_of(readme: Path) -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(language=language, text=text) for language, text in found]


@pytest.fixture
def clone(demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder as the README expects it: the demo, and the data, registry and run.yaml that it shows."""
    (tmp_path / "build").mkdir()
    shutil.copytree(demo.root, tmp_path / "build" / "demo")
    shutil.copytree(demo.model, tmp_path / "Qwen2.5-VL-3B-Instruct")
    media = sorted(path for path in demo.root.rglob("*.*") if path.suffix in (".jpg", ".mp4"))
    for name, suffix in (("photos/a.jpg", ".jpg"), ("videos/b.mp4", ".mp4")):
        (tmp_path / name).parent.mkdir()
        shutil.copy(next(path for path in media if path.suffix == suffix), tmp_path / name)
    texts = {block.language: block.text for block in reversed(blocks_of(ENGLISH))}  # the first of each
    image, video = texts["json"].splitlines()
    (tmp_path / "receipts.jsonl").write_text(f"{image}\n{image}\n", encoding="utf-8")
    (tmp_path / "clips.json").write_text(f"{video}\n", encoding="utf-8")
    (tmp_path / "datasets.yaml").write_text(texts["yaml"], encoding="utf-8")
    [run] = [block.text for block in blocks_of(ENGLISH) if "output_dir" in block.text and block.language == "yaml"]
    (tmp_path / "run.yaml").write_text(run, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_the_readme_shows_works_in_its_order(clone: Path) -> None:
    printed = ""
    ran: list[str] = []
    num_shown = 0
    for block in blocks_of(ENGLISH):
        if block.language == "bash":
            outputs = []
            for words in block.commands():
                ran.append(" ".join(words))
                outputs.append(run(words, ran[-1]))
            printed = "".join(outputs).replace(f"{clone}/", "")
        elif block.language == "text" and printed:
            shown = [line for line in block.text.splitlines() if line != "..."]
            assert [line for line in shown if line not in printed.splitlines()] == []
            num_shown += len(shown)
        elif block.language == "yaml" and "annotation_path" in block.text:
            (clone / "other.yaml").write_text(block.text, encoding="utf-8")
            assert read_registry(clone / "other.yaml")
        elif block.language == "python":
            exec(compile(block.text, "README.md", "exec"), {})
    assert len(open_shards("out-small")) == 1
    assert len(ran) > 15
    assert num_shown > 5


def run(words: list[str], line: str) -> str:
    """What the command prints, where it takes seconds; of any other, whether it parses. `line` is for failures."""
    while "=" in words[0]:  # variables
        words = words[1:]
    if words[0] == "sbatch":
        return run(shlex.split(words[words.index("--wrap") + 1]), line)
    if words[0] == "srun":
        words = words[words.index("bash") :]
    program, script, *rest = words
    if program == "bash":
        assert (ROOT / script).is_file(), line
        check_script(Path(script).stem, rest)
        return ""
    assert program == ".venv/bin/python", line
    if script != "-m":
        assert (ROOT / script / "__main__.py").is_file() or (ROOT / script).is_file(), line
        return ""
    return run_module(*rest, line=line)


def check_script(name: str, words: list[str]) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    if name == "train":
        _, flags = split_nproc(["--shards", *words])
        parse_command_line(flags)
    elif name == "certify":
        parse_certify(words, lambda note: None)
    elif name == "setup":
        assert set(words) <= set(setup["options.extras_require"])
    else:
        assert (name, words) in [("quickstart", []), ("test", [])]


def run_module(module: str, command: str, *words: str, line: str) -> str:
    match module, command:
        case "train", "doctor":
            assert not words, line
            return ""
        case "train", "merge":
            read_fields(read_settings(words), MergeArguments, program=line)
            return ""
        case "preprocess", "run" if "ray" in words:
            parse_config(words, lambda note: None)
            return ""
    main = {"preprocess": preprocess, "shards": look, "train": train}[module]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([command, *words])
    assert code == 0, f"{line}\n{err.getvalue()}"
    return out.getvalue()


def test_both_languages_show_the_same_commands_and_files() -> None:
    english, chinese = blocks_of(ENGLISH), blocks_of(CHINESE)
    assert [block.language for block in english] == [block.language for block in chinese]
    for one, other in zip(english, chinese, strict=True):
        match one.language:
            case "bash":
                assert list(one.commands()) == list(other.commands())
            case "yaml":
                assert yaml.safe_load(one.text) == yaml.safe_load(other.text)
            case "text":
                assert one.text == other.text
            case "python":
                assert re.sub("#.*", "", one.text) == re.sub("#.*", "", other.text)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_are_there(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]
    sources = re.findall(r'(?:src|srcset)="([^"]+)"', text)
    broken = []
    for link in (*links, *sources):
        name, _, anchor = link.partition("#")
        target = readme.parent / name if name else readme
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


def anchors_of(page: Path) -> set[str]:
    """As pages on GitHub name headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
