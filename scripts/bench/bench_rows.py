"""The rows of the READMEs' table: each a comparison that a benchmark makes, in one run, on the same files."""

from __future__ import annotations

from dataclasses import dataclass

BY_DEFAULT = "mindnlp_by_default"  # a side of step.py


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line, whose words stand in both languages, and whose figures are keys of a benchmark's last line."""

    english: str
    chinese: str
    here: str  # for `str.format`, with the figures
    otherwise: str
    ratios: tuple[str, ...]  # keys of figures that are about the same on another machine: here against otherwise
    style: str = "{:.1f} x"  # of each
    varies: str = ""  # with what, where it is not the same on another machine
    needs: str = ""  # a folder of the root, an environment that not everyone makes


@dataclass(frozen=True, kw_only=True)
class Group:
    bench: str
    english: str
    chinese: str
    rows: tuple[Row, ...]


def processor_row(kind: str, name: str, english: str, chinese: str, suffix: str = "") -> Row:
    """Samples a second, against one of `bench_ways.NAMES`."""
    return Row(
        english=english,
        chinese=chinese,
        here=f"{{{kind}_per_s{suffix}:.1f}} / s",
        otherwise=f"{{{kind}_{name}_per_s{suffix}:.1f}} / s",
        ratios=(f"{kind}_to_{name}{suffix}",),
        style="{:.2f} x",
    )


def epoch_row(kind: str, which: str, english: str, chinese: str) -> Row:
    """Milliseconds a sample, of first or later epochs."""
    return Row(
        english=english,
        chinese=chinese,
        here=f"{{{kind}{which}_ours_ms:.2f}} ms",
        otherwise=f"{{{kind}{which}_loader_ms:.1f}} ms",
        ratios=(f"{kind}{which}_ratio",),
        style="{:.0f} x",
        varies="with the disk" if which else "",
    )


def payback_row(kind: str, english: str, chinese: str) -> Row:
    return Row(
        english=english, chinese=chinese, here="", otherwise="", ratios=(f"{kind}_payback_epochs",), style="{:.2f}"
    )


def pack_row(name: str, english: str, chinese: str) -> Row:
    return Row(
        english=english,
        chinese=chinese,
        here="{token_fill:.2%}, {patch_fill:.2%}, {global_seconds:.2f} s",
        otherwise=f"{{{name}_token_fill:.2%}}, {{{name}_patch_fill:.2%}}, {{{name}_seconds:.2f}} s",
        ratios=(f"{name}_tokens_ratio", f"{name}_patches_ratio"),
        style="{:.2f} x",
    )


def storage_row(here: str, otherwise: str, ratio: str, english: str, chinese: str) -> Row:
    return Row(
        english=english,
        chinese=chinese,
        here=f"{{{here}_gb:.2f}} GB",
        otherwise=f"{{{otherwise}_gb:.2f}} GB",
        ratios=(ratio,),
    )


def reuse_row(change: str, english: str, chinese: str) -> Row:
    return Row(
        english=english,
        chinese=chinese,
        here=f"{{{change}_reused_s:.1f}} s",
        otherwise=f"{{{change}_scratch_s:.1f}} s",
        ratios=(f"{change}_speedup",),
    )


def step_row(size: str, name: str, english: str, chinese: str) -> Row:
    return Row(
        english=english,
        chinese=chinese,
        here=f"{{{size}_compiled_s:.3f}} s",
        otherwise=f"{{{size}_{name}_s:.3f}} s",
        ratios=(f"{size}_to_{name}",),
        style="{:.2f} x",
        # 0.060 to 0.083 s in four runs, whose steps are even within a run.
        varies="from one start of the tiny model to the next" if size == "tiny" and "mindnlp" in name else "",
        needs=".venv-mindnlp" if name.startswith("mindnlp") else "",
    )


GROUPS = (
    Group(
        bench="processors",
        english="Preprocess, once: everything until it is on the disk, one core",
        chinese="预处理，只做一次：直到写入磁盘的全部工作，单核",
        rows=(
            processor_row(
                "photo",
                "pil",
                "photos of 2400 x 1550, against transformers' PIL processor (neither text nor writing)",
                "2400 x 1550 照片，对比 transformers 的 PIL 处理器（不分词、不写盘）",
            ),
            processor_row("photo", "torchvision", "against its torchvision processor", "对比其 torchvision 处理器"),
            processor_row("photo", "resize", "against Pillow's decode + resize alone", "对比仅用 Pillow 解码 + 缩放"),
            processor_row("photo", "decode", "against Pillow's decode alone", "对比仅用 Pillow 解码"),
            processor_row(
                "real",
                "pil",
                "real photographs of 1024 x 768, against the PIL processor",
                "真实照片 1024 x 768，对比 PIL 处理器",
            ),
            processor_row("real", "torchvision", "against the torchvision processor", "对比 torchvision 处理器"),
            processor_row(
                "clip",
                "pil",
                "8 frames of clips of 10 s, 640 x 360 H.264, against decord and the PIL processor",
                "640 x 360 H.264 视频 10 秒取 8 帧，对比 decord + PIL 处理器",
            ),
            processor_row(
                "clip",
                "torchvision",
                "against decord and the torchvision processor",
                "对比 decord + torchvision 处理器",
            ),
            processor_row(
                "photo",
                "torchvision",
                "on all cores: the photos, against the torchvision processor",
                "使用全部核心：照片，对比 torchvision 处理器",
                "_all",
            ),
            processor_row(
                "clip",
                "torchvision",
                "on all cores: the clips, likewise",
                "使用全部核心：视频，同上",
                "_all",
            ),
        ),
    ),
    Group(
        bench="epoch",
        english="Each epoch: data time of a sample, against a loader in the way of the Qwen scripts, one core",
        chinese="每个 epoch：单个样本的数据时间，对比 Qwen 脚本式的加载器，单核",
        rows=(
            epoch_row("image", "", "mixture of images, 640 x 480 to 2400 x 1550", "混合图像，640 x 480 至 2400 x 1550"),
            epoch_row(
                "image",
                "_first",
                "the same in the first epoch: no file in memory yet",
                "同上，首个 epoch：文件尚未缓存",
            ),
            epoch_row("video", "", "the clips of 10 s", "10 秒的视频"),
            epoch_row("video", "_first", "the same in the first epoch", "同上，首个 epoch"),
            payback_row(
                "image", "epochs until the offline run has paid for itself, images", "离线预处理回本所需 epoch 数，图像"
            ),
            payback_row("video", "the same, clips", "同上，视频"),
        ),
    ),
    Group(
        bench="pack",
        english="Packing: tokens and patches used, time for 20,000 samples; how many times less is computed",
        chinese="打包：token 与图像块利用率，2 万样本用时；两者计算量各减少的倍数",
        rows=(
            pack_row("none", "against one sample a pack", "对比每包一个样本"),
            pack_row(
                "windows_256",
                "against `binpacking` in windows of 256 (Qwen scripts)",
                "对比 `binpacking`，窗口 256（Qwen 脚本）",
            ),
            pack_row(
                "windows_1000",
                "against `binpacking` in windows of 1,000 (ms-swift)",
                "对比 `binpacking`，窗口 1,000（ms-swift）",
            ),
            pack_row("ffd", "against first-fit decreasing on both", "对比两个维度上的首次适应递减"),
        ),
    ),
    Group(
        bench="storage",
        english="On the disk, 1,000 samples",
        chinese="磁盘占用，1,000 个样本",
        rows=(
            storage_row(
                "image_uint8",
                "image_float32",
                "image_float32_to_uint8",
                "mixture of images, against float32 `pixel_values`",
                "混合图像，对比 float32 `pixel_values`",
            ),
            storage_row(
                "image_zstd",
                "image_float32",
                "image_float32_to_zstd",
                "the same with `--compress zstd`, without loss",
                "同上，`--compress zstd` 无损压缩",
            ),
            storage_row(
                "real_zstd",
                "real_source",
                "real_source_to_zstd",
                "real photographs with zstd, against their files",
                "真实照片（zstd），对比原文件",
            ),
            storage_row(
                "clip_zstd",
                "clip_float32",
                "clip_float32_to_zstd",
                "the clips with zstd, against float32",
                "视频（zstd），对比 float32",
            ),
        ),
    ),
    Group(
        bench="reuse",
        english="Again with `--reuse`, against from scratch: 600 photos",
        chinese="用 `--reuse` 重跑，对比从头运行：600 张照片",
        rows=(
            reuse_row("limit", "a pixel limit that changes one in ten", "像素上限改变，十分之一的照片尺寸变化"),
            reuse_row("mixture", "another mixture of the datasets", "数据集配比改变"),
            reuse_row("pack_length", "packs twice as long", "打包长度加倍"),
        ),
    ),
    Group(
        bench="step",
        english="A training step on CPU, compiled",
        chinese="CPU 上的一个训练步（编译）",
        rows=(
            step_row("tiny", BY_DEFAULT, "tiny model, against MindNLP as it comes", "微型模型，对比默认设置的 MindNLP"),
            step_row(
                "tiny",
                "mindnlp",
                "against MindNLP, waiting as ours does (`--backend mindnlp`)",
                "对比等待方式相同的 MindNLP（`--backend mindnlp`）",
            ),
            step_row("tiny", "uncompiled", "against operator by operator", "对比逐算子执行"),
            step_row("tiny", "pytorch", "against PyTorch", "对比 PyTorch"),
            step_row("large", "mindnlp", "100M parameters, against MindNLP", "1 亿参数，对比 MindNLP"),
            step_row("large", "uncompiled", "against operator by operator", "对比逐算子执行"),
            step_row("large", "pytorch", "against PyTorch", "对比 PyTorch"),
        ),
    ),
    Group(
        bench="start",
        english="Starting: from the command to the first step",
        chinese="启动：从命令到第一步",
        rows=(
            Row(
                english="with the compile cache, against cold",
                chinese="有编译缓存，对比冷启动",
                here="{cached_s:.1f} s",
                otherwise="{cold_s:.1f} s",
                ratios=("cold_to_cached",),
            ),
        ),
    ),
)
