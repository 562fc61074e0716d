"""Draw the way of the data for the READMEs: scripts/pictures/way-light.svg and way-dark.svg.

python scripts/draw_way.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent / "pictures"
WIDTH, HEIGHT = 960, 292
FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif"


@dataclass(frozen=True, kw_only=True)
class Theme:
    ink: str
    soft: str
    line: str
    card: str
    accent: str  # of what this project does
    on_accent: str


THEMES = {
    "light": Theme(
        ink="#1b2330", soft="#5a6678", line="#aeb9ca", card="#f5f6f8", accent="#2f62b5", on_accent="#ffffff"
    ),
    "dark": Theme(ink="#e6eaf1", soft="#a1adbf", line="#4b586d", card="#1b212b", accent="#7fabf2", on_accent="#12161d"),
}
# (title, lines below it, whether it is a command of ours)
PLACES = (
    ("annotations, media", ("JSON, CSV, Parquet", "files, archives, URLs"), False),
    ("preprocess", ("once, on CPUs", "no MindSpore"), True),
    ("OUTPUT_DIR", ("packed shards", "+ manifest"), False),
    ("train", ("every epoch, on NPUs", "no decoding"), True),
    ("model folder", ("Hugging Face", "safetensors"), False),
)
STATIONS = ("record", "Sample", "MeasuredSample", "EncodedSample", "Pack", "batch", "loss")
WAYS = ("validate", "headers, counts", "pixels, tokens, rope", "pack, write", "pad, normalise", "one graph")


def draw(theme: Theme) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="{escape(FONT, {chr(34): "&quot;"})}">',
        "<title>The way of the data: annotations and media are preprocessed once into packed shards, which training "
        "streams without decoding</title>",
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{theme.soft}"/></marker></defs>',
        *_places(theme),
        *_stations(theme),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _places(theme: Theme) -> list[str]:
    width, gap, top, height = 160, 40, 16, 108
    parts = []
    for number, (title, lines, is_ours) in enumerate(PLACES):
        x = number * (width + gap)
        fill, ink = (theme.accent, theme.on_accent) if is_ours else (theme.card, theme.ink)
        soft = theme.on_accent if is_ours else theme.soft
        parts.append(
            f'<rect x="{x + 1}" y="{top}" width="{width - 2}" height="{height}" rx="10" fill="{fill}" '
            f'stroke="{theme.accent if is_ours else theme.line}"/>'
        )
        parts.append(_text(x + width / 2, top + 36, title, ink, size=14, weight=600))
        parts += [_text(x + width / 2, top + 62 + 20 * row, line, soft) for row, line in enumerate(lines)]
        if number:
            parts.append(_arrow(x - gap + 5, x - 5, top + height / 2, theme))
    return parts


def _stations(theme: Theme) -> list[str]:
    """A line with a stop for each type, and between the stops what is done."""
    left, right, y = 34, WIDTH - 30, 214
    step = (right - left) / (len(STATIONS) - 1)
    parts = [_text(0, 160, "one sample on its way", theme.soft, anchor="start")]
    for number, name in enumerate(STATIONS):
        x = left + number * step
        if number:
            parts.append(_arrow(x - step + 10, x - 10, y, theme))
            parts.append(_text(x - step / 2, y - 14, WAYS[number - 1], theme.soft, size=12))
        parts.append(f'<circle cx="{x:g}" cy="{y}" r="6" fill="{theme.accent}"/>')
        parts.append(_text(x, y + 32, name, theme.ink, size=14, weight=600))
    return parts


def _arrow(start: float, end: float, y: float, theme: Theme) -> str:
    return (
        f'<line x1="{start:g}" y1="{y:g}" x2="{end:g}" y2="{y:g}" stroke="{theme.soft}" stroke-width="1.5" '
        'marker-end="url(#tip)"/>'
    )


def _text(
    x: float, y: float, text: str, colour: str, *, size: int = 13, weight: int = 400, anchor: str = "middle"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{colour}">{escape(text)}</text>'
    )


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, theme in THEMES.items():
        (FOLDER / f"way-{name}.svg").write_text(draw(theme), encoding="utf-8")


if __name__ == "__main__":
    main()
