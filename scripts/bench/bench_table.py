"""Write the newest results into the tables of the READMEs, between their markers.

    python scripts/bench/bench_table.py [--check]

Each figure stands in the last line of a file in scripts/bench/results/, which `scripts/bench.sh NAME` writes; a table
names the days on which its figures were measured. --check only says whether a table is another one; exit code 1 then.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- figures: scripts/bench/bench_table.py -->", "<!-- end of figures -->"


@dataclass(frozen=True, kw_only=True)
class Row:
    bench: str
    key: str
    style: str  # of the figure, for `format`
    english: str
    chinese: str


ROWS = (
    Row(
        bench="materialise",
        key="ratio_to_floor",
        style="{:.2f} x",
        english="photos of 2400 x 1550 to written shards, one worker, against Pillow's decode + resize alone",
        chinese="2400 x 1550 照片写成分片（单进程），对比仅用 Pillow 解码 + 缩放",
    ),
    Row(
        bench="processors",
        key="to_pil",
        style="{:.2f} x",
        english="the same against transformers' PIL processor, which neither tokenizes nor writes",
        chinese="对比 transformers 的 PIL 处理器（它不分词、不写盘）",
    ),
    Row(
        bench="processors",
        key="to_torchvision",
        style="{:.2f} x",
        english="against transformers' torchvision processor, likewise",
        chinese="对比 transformers 的 torchvision 处理器（同上）",
    ),
    Row(
        bench="processors",
        key="to_loader",
        style="{:.2f} x",
        english="against a loader in the way of the Qwen scripts, which does it again in each epoch",
        chinese="对比 Qwen 脚本式的加载器（它每个 epoch 都重做一遍）",
    ),
    Row(
        bench="materialise",
        key="speedup_2_workers",
        style="{:.2f} x",
        english="preprocessing photos with two workers against one, on two cores",
        chinese="两个进程预处理照片，对比一个进程",
    ),
    Row(
        bench="video",
        key="speedup_8_of_360p",
        style="{:.2f} x",
        english="8 frames of a 640 x 360 clip, against decord + Pillow",
        chinese="640 x 360 视频取 8 帧，对比 decord + Pillow",
    ),
    Row(
        bench="video",
        key="speedup_64_of_1080p",
        style="{:.2f} x",
        english="64 frames of a 1080p clip, likewise",
        chinese="1080p 视频取 64 帧，同上",
    ),
    Row(
        bench="plan",
        key="samples_per_s_per_core",
        style="{:,.0f} / s",
        english="samples planned (header, exact token counts) on one core",
        chinese="单核每秒规划的样本数（读文件头、精确计数 token）",
    ),
    Row(
        bench="pack",
        key="token_fill",
        style="{:.2%}",
        english="tokens of packs that are used",
        chinese="打包后 token 利用率",
    ),
    Row(
        bench="pack",
        key="patch_fill",
        style="{:.2%}",
        english="patches of packs that are used",
        chinese="打包后图像块利用率",
    ),
    Row(
        bench="reuse",
        key="time_ratio",
        style="{:.2f}",
        english="time of a run with `--reuse` after a limit that changes one photo in ten, against one from scratch",
        chinese="像素上限改变、十分之一照片尺寸变化后用 `--reuse` 重跑，与从头运行的时间之比",
    ),
    Row(
        bench="disk",
        key="bytes_per_patch_compressed",
        style="{:,.0f} bytes",
        english="a patch on disk with `--compress zstd`, without loss; 588 without",
        chinese="`--compress zstd` 无损压缩后每个图像块的字节数（不压缩为 588）",
    ),
    Row(
        bench="archives",
        key="tar_ratio",
        style="{:.2f} x",
        english="time of reading media from a tar at random, against a folder",
        chinese="从 tar 中随机读取媒体的时间，对比文件夹",
    ),
)


def newest(bench: str) -> tuple[str, dict[str, float]] | None:
    """Day and figures of its newest result."""
    paths = sorted(RESULTS.glob(f"????-??-??-{bench}.txt"))
    if not paths:
        return None
    return paths[-1].name[:10], json.loads(paths[-1].read_text(encoding="utf-8").splitlines()[-1])


def table(language: str) -> str:
    found = {row.bench: newest(row.bench) for row in ROWS}
    lines, days, machine = [], set(), ""
    for row in ROWS:
        result = found[row.bench]
        if result is None or row.key not in result[1]:
            continue
        days.add(result[0])
        machine = (RESULTS / f"{result[0]}-{row.bench}.txt").read_text(encoding="utf-8").splitlines()[1]
        words = row.chinese if language == "zh" else row.english
        lines.append(f"| {words} | {row.style.format(result[1][row.key])} | `{row.bench}` |")
    heads = {"en": ("what", "figure", "`scripts/bench.sh`"), "zh": ("内容", "数值", "`scripts/bench.sh`")}[language]
    head = [f"| {' | '.join(heads)} |", "| --- | ---: | --- |"]
    when = ", ".join(sorted(days))
    note = f"测于 {machine}，{when}。" if language == "zh" else f"On {machine}; {when}."
    return "\n".join([*head, *lines, "", note])


def render(text: str, language: str) -> str:
    """With the table between the markers, of which there must be one pair."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"needs one {BEGIN} ... {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{table(language)}\n\n{END}", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check, differs = parser.parse_args().check, False
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


if __name__ == "__main__":
    sys.exit(main())
