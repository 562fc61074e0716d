"""Write the newest results into the tables of the READMEs, between their markers; or compare others with them.

    python scripts/bench/bench_table.py [--check | --against DIR | --benches]

A figure stands in the last line of a file in scripts/bench/results/, which `scripts/bench.sh NAME` writes; a table
names the days on which its figures were measured. A row whose figures are not there is left out.

--check only says whether a table is another one than that of the results; exit code 1 then. --against compares the
ratios with those of DIR/NAME.txt, which `scripts/bench.sh --quick` writes: more than 20% apart is exit code 1, and so
is a ratio that is missing there. --benches names the benchmarks that rows come from.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench_rows import GROUPS, Group, Row

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- figures: scripts/bench/bench_table.py -->", "<!-- end of figures -->"
HEADS = {
    "en": ("what", "here", "otherwise", "ratio"),
    "zh": ("内容", "本项目", "对比", "倍数"),
}
TOLERANCE = 0.2
Figures = Mapping[str, float]


def newest(bench: str) -> Path | None:
    """Its newest result; the name begins with the day."""
    return max(RESULTS.glob(f"????-??-??-{bench}.txt"), default=None)


def figures_of(path: Path) -> Figures:
    """The last line; empty where a benchmark ended before it."""
    last = path.read_text(encoding="utf-8").splitlines()[-1:]
    return json.loads(last[0]) if last and last[0].startswith("{") else {}


def rows_with_figures() -> Iterator[tuple[Group, Path, list[tuple[Row, Figures]]]]:
    """Groups that have a result, which is named, and their rows that have figures."""
    for group in GROUPS:
        path = newest(group.bench)
        if path is None:
            continue
        figures = figures_of(path)
        rows = [(row, figures) for row in group.rows if cells(row, figures) is not None]
        if rows:
            yield group, path, rows


def cells(row: Row, figures: Figures) -> tuple[str, str, str] | None:
    """Here, otherwise, ratio; None where a figure is missing."""
    try:
        ratios = ", ".join(row.style.format(figures[name]) for name in row.ratios)
        return row.here.format(**figures), row.otherwise.format(**figures), ratios
    except KeyError:
        return None


def table(language: str) -> str:
    heads = HEADS[language]
    lines = [f"| {' | '.join(heads)} |", "| --- | ---: | ---: | ---: |"]
    days, machines = set(), set()
    for group, path, rows in rows_with_figures():
        days.add(path.name[:10])
        machines.add(path.read_text(encoding="utf-8").splitlines()[1])
        lines.append(f"| **{group.chinese if language == 'zh' else group.english}** (`{group.bench}`) | | | |")
        for row, figures in rows:
            words = row.chinese if language == "zh" else row.english
            lines.append(f"| {words} | {' | '.join(cells(row, figures) or ())} |")
    when, where = ", ".join(sorted(days)), "; ".join(sorted(machines))
    note = {
        "en": f"Medians, on {where}; {when}. In brackets: the benchmark in `scripts/bench/`, which says what is"
        " measured; `results/` there has spread and versions. `bash scripts/bench.sh --quick` compares the ratios with"
        " those of your machine.",
        "zh": f"中位数，测于 {where}，{when}。括号内为 `scripts/bench/` 中的基准，其中说明了测量方法；"
        "离散程度与版本见其 `results/`。`bash scripts/bench.sh --quick` 在你的机器上对比这些倍数。",
    }
    return "\n".join([*lines, "", note[language]])


def render(text: str, language: str) -> str:
    """With the table between the markers, of which there must be one pair."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"needs one {BEGIN} ... {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{table(language)}\n\n{END}", text)


def write_tables(check: bool) -> int:
    differs = False
    for name, language in (("README.md", "en"), ("README.zh.md", "zh")):
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = render(before, language)
        if after != before:
            differs = True
            print(f"{name}: {'its table is not that of the newest results' if check else 'written'}")
            if not check:
                path.write_text(after, encoding="utf-8")
    return int(check and differs)


def compare(folder: Path) -> int:
    """Print each ratio of the READMEs beside that of this run."""
    num_off = num_ratios = 0
    print(f"{'':66}{'README':>10}{'this run':>10}{'apart':>8}")
    for group, _, rows in rows_with_figures():
        path = folder / f"{group.bench}.txt"
        if not path.exists():
            continue
        print(group.english)
        figures = figures_of(path)
        for row, stored in rows:
            for name in row.ratios:
                before, now = row.style.format(stored[name]), figures.get(name)
                words = f"  {row.english[:63]:64}{before:>10}"
                if now is None and row.needs and not (ROOT / row.needs).exists():
                    print(f"{words}{'-':>10}  needs {row.needs}")
                    continue
                num_ratios += 1
                apart = None if now is None else now / stored[name] - 1
                is_off = apart is None or (abs(apart) > TOLERANCE and not row.varies)
                num_off += is_off
                shown = "missing" if now is None else row.style.format(now)
                beyond = "" if apart is None else f"{apart:+.0%}"
                why = "  <- off" if is_off else f"  varies {row.varies}" if row.varies else ""
                print(f"{words}{shown:>10}{beyond:>8}{why}")
    print(f"{num_off} of {num_ratios} ratios are more than {TOLERANCE:.0%} apart, or not there")
    return int(num_off > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true")
    what.add_argument("--against", type=Path, metavar="DIR")
    what.add_argument("--benches", action="store_true")
    arguments = parser.parse_args()
    if arguments.benches:
        print(*(group.bench for group in GROUPS), sep="\n")
        return 0
    return compare(arguments.against) if arguments.against else write_tables(arguments.check)


if __name__ == "__main__":
    sys.exit(main())
