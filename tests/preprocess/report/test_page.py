"""The page of a report: everything in it, and hostile data stays text, which a browser confirms where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from preprocess.errors import Reason
from preprocess.jobs.executor import ThisProcess
from preprocess.report.distributions import Bin
from preprocess.report.page import MEANINGS, Histogram, report_page
from shards import Manifest
from shards.__main__ import main as shards_main
from tests.preprocess.workshop import Outcome, Workshop, talk
from tests.shards.look.test_page import Elements

HERE = ThisProcess()
ATTACK = """<script>document.title="run"</script>"'&amp;\u202egnp.exe\u2066\u200f"""
ATTACK_SHOWN = """<script>document.title="run"</script>"'&amp;\\u202egnp.exe\\u2066\\u200f"""
FILE_ATTACK = """\"'><img src=x onerror=document.title="run">\u202egnp."""
FILE_ATTACK_SHOWN = """\"'><img src=x onerror=document.title="run">\\u202egnp."""
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def page_of(outcome: Outcome) -> str:
    return report_page(outcome.folder, outcome.manifest, outcome.plan, HERE)


def text_of(page: str) -> str:
    """On one line, with a space between any two elements."""
    return " ".join(" ".join(Elements(page).texts).split())


def test_the_demo_on_a_page(demo_run: Outcome) -> None:
    page = page_of(demo_run)
    text = text_of(page)
    manifest, plan = demo_run.manifest, demo_run.plan
    slots = manifest.num_packs * manifest.pack_length
    assert f"samples {manifest.totals.num_samples} packs {manifest.num_packs} tokens" in text
    assert f"tokens {manifest.totals.num_tokens / slots:.1%} of 768 a pack" in text
    assert f"3 of {plan.num_records} samples were left out" in text
    for name, dataset in manifest.datasets.items():
        assert f"{name} {dataset.counts.num_samples} {dataset.counts.num_tokens:,} " in text
    for title in ("Tokens of a sample", "Patches of a sample", "Tokens of a pack", "Patches of a pack"):
        assert title in text
    numbers = [int(number) for number in re.findall(r"tokens: (\d+) samples", text)]
    assert sum(numbers) == manifest.totals.num_samples
    assert "aspect_ratio 1 One side is more than 200 times the other. flawed:8" in text
    assert "missing_file 1 There is no such file. no picture: no file to draw flawed:2" in text
    assert "the rejected image of flawed:8" in page
    assert page.count('<h2 id="pack-') == 3
    assert "config.max_pixels 100352" in text


def test_the_same_run_gives_the_same_page(demo_run: Outcome) -> None:
    assert page_of(demo_run) == page_of(demo_run)


def test_every_reason_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Reason)


def test_a_run_without_rejects_says_so(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    text = text_of(page_of(workshop.run()))
    assert "Nothing was rejected." in text
    assert "could not be decoded" not in text


def test_samples_lost_while_decoding_are_named_and_drawn(workshop: Workshop) -> None:
    workshop.dataset([talk(), talk("<image>", image=workshop.truncated_image())])
    page = page_of(workshop.run("--max_reject_share=1"))
    text = text_of(page)
    assert re.search(r"\b1 planned samples \(\d+ tokens\) could not be decoded", text)
    assert "undecodable 1 " in text
    assert 'alt="the rejected image of d:1"' in page


def test_examples_are_few_and_datasets_are_all_there(workshop: Workshop, demo_run: Outcome) -> None:
    workshop.dataset([talk(), *(talk("<image>", image=f"gone{n}.png") for n in range(20))])
    outcome = workshop.run("--max_reject_share=1")
    text = text_of(page_of(outcome))
    assert "missing_file 20" in text
    assert len(re.findall(r"gone\d+\.png", text)) == 3
    names = [f"dataset-{n}" for n in range(1000)]
    [summary] = outcome.manifest.datasets.values()
    many: Manifest = replace(outcome.manifest, datasets=dict.fromkeys(names, summary))
    text = text_of(report_page(outcome.folder, many, outcome.plan, HERE))
    assert all(name in text for name in names)


# --- hostile data --------------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(workshop: Workshop) -> Outcome:
    """The attack in captions, file names, keys of records and the dataset's name."""
    good, cut = workshop.image(FILE_ATTACK + "png"), workshop.truncated_image(FILE_ATTACK + "jpg")
    records = [
        talk(f"{ATTACK}<image>", f"{ATTACK}</pre></li>", image=good),
        talk("<image>", image=cut),
        talk("<image>", image=FILE_ATTACK + "gone"),
        talk(**{"imagee" + ATTACK[:1]: "x"}),
        {"conversations": [{"from": ATTACK, "value": "x"}]},
    ]
    workshop.dataset(records, name="d", suffix=".jsonl")
    workshop.register(f"d {ATTACK[:8]}\u202e", workshop.root / "d.jsonl")
    return workshop.run("--max_reject_share=1", "--pack_length=512")


def pages(outcome: Outcome, folder: Path) -> dict[str, Path]:
    report, show = folder / "report.html", folder / "show.html"
    report.write_text(page_of(outcome), encoding="utf-8")
    assert shards_main(["show", str(outcome.folder), f"--html={show}"]) == 0
    return {"report": report, "show": show}


def check_text(elements: Elements, kind: str) -> None:
    """What both parsers must find: the attacks as text, and no element or attribute of theirs."""
    assert not {"script", "iframe", "object", "embed", "link", "base"} & set(elements.names)
    assert not [name for name, _ in elements.attributes if name.startswith("on")]
    assert not [value for name, value in elements.attributes if name == "src" and not (value or "").startswith("data:")]
    assert ATTACK_SHOWN + "</pre></li>" in elements.text
    if kind == "report":
        assert f"/{FILE_ATTACK_SHOWN}png" in elements.text  # among the slowest
        assert f"/{FILE_ATTACK_SHOWN}jpg: " in elements.text  # reject details
        assert f"/{FILE_ATTACK_SHOWN}gone: " in elements.text
        assert f"d {ATTACK[:8]}\\u202e" in elements.text
    assert not re.search(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069\x1b]", elements.text)


def test_hostile_data_stays_text(hostile: Outcome, tmp_path: Path) -> None:
    assert {reject["reason"] for reject in hostile.rejects} >= {"undecodable", "missing_file"}
    for kind, path in pages(hostile, tmp_path).items():
        check_text(Elements(path.read_text(encoding="utf-8")), kind)


@pytest.mark.skipif(BROWSER is None, reason="no browser: chromium, chromium-browser or google-chrome")
def test_a_browser_runs_nothing_of_it(hostile: Outcome, tmp_path: Path) -> None:
    trap = tmp_path / "trap.html"
    trap.write_text(f"<!doctype html><title>calm</title><p>{ATTACK}", encoding="utf-8")
    assert "<title>run</title>" in dom_of(trap)  # this browser would run it
    for kind, path in pages(hostile, tmp_path).items():
        dom = dom_of(path)
        assert f"<title>{'Report on' if kind == 'report' else 'Packs of'} {hostile.folder}</title>" in dom
        check_text(Elements(dom), kind)


def dom_of(page: Path) -> str:
    """What the browser makes of a page, after its scripts ran."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={page.parent / 'profile'}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("highest", "numbers"),
    [
        (0, []),
        (1, [0, 1]),
        (3, [0, 1, 2, 3]),
        (7, [0, 2, 4, 6]),
        (19, [0, 5, 10, 15]),
        (100, [0, 50, 100]),
        (1_234_567, [0, 500_000, 1_000_000]),
    ],
)
def test_the_counts_of_a_histogram_are_whole_and_round(highest: int, numbers: list[int]) -> None:
    histogram = Histogram(
        title="",
        what="",
        unit="",
        is_logarithmic=False,
        bins=(Bin(low=0, high=9, number=highest),),
        median=0,
        most=0,
        largest=0,
    )
    assert [number for _, number in histogram.counts] == numbers
    assert [share for share, _ in histogram.counts] == [pytest.approx(100 * number / highest) for number in numbers]


def test_the_beginning_of_a_rejected_record_is_shown_escaped(workshop: Workshop) -> None:
    workshop.dataset([talk(), {"dialogue": "<script>alert(1)</script>\u202e"}])
    assert workshop.run("--max_reject_share=1").code == 0
    page = workshop.root / "report.html"
    workshop.command("report", str(workshop.root / "out"), f"--html={page}")
    text = page.read_text(encoding="utf-8")
    assert "{&#34;dialogue&#34;: &#34;&lt;script&gt;alert(1)&lt;/script&gt;\\u202e&#34;}" in text
    assert "<script>" not in text
