"""Photograph the demo's report and a pack of it for the READMEs: scripts/pictures/report.png and pack.png.

python scripts/draw_pages.py [CHROMIUM]      needs a Chromium and .venv; the letters are those of the machine's fonts
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "scripts" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SHARDS = "out"  # as the READMEs call it, and the pages say
PACK = 4  # images and a video
QUIET = ("--disable-background-networking", "--disable-sync", "--disable-component-update", "--no-first-run")


@dataclass(frozen=True, kw_only=True)
class Page:
    name: str
    command: tuple[str, ...]  # writes it, beside the shards
    size: tuple[int, int]  # width and height of what is shown from its top, in CSS pixels: two of ours


PAGES = (
    Page(name="report", command=("preprocess", "report", SHARDS, "--html", "report.html"), size=(640, 1054)),
    Page(name="pack", command=("shards", "show", SHARDS, "--pack", str(PACK), "--html", "pack.html"), size=(640, 1172)),
)


def main(arguments: Sequence[str]) -> None:
    names = arguments or BROWSERS
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"error: no {' or '.join(names)} on the path; name a Chromium: python scripts/draw_pages.py CHROMIUM")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run(work, str(ROOT / "scripts" / "demo"), "demo")
        run(work, "-m", "preprocess", "run", "--config", "demo/run.yaml", "--output_dir", SHARDS)
        for page in PAGES:
            run(work, "-m", *page.command)
            photograph(browser, work, page)
            picture = FOLDER / f"{page.name}.png"
            print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size / 1000:.0f} kB")


def run(work: Path, *words: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    subprocess.run([sys.executable, *words], cwd=work, env=environment, check=True, stdout=subprocess.DEVNULL)


def photograph(browser: str, work: Path, page: Page) -> None:
    """In light colours, kept with a palette of 128: a third of the bytes."""
    shot = work / f"{page.name}.png"
    width, height = page.size
    window = (f"--window-size={width},{height}", "--force-device-scale-factor=2", "--hide-scrollbars")
    apart = (f"--user-data-dir={work / 'profile'}", "--no-sandbox", "--disable-gpu", *QUIET)
    address = (work / f"{page.name}.html").as_uri()
    command = [browser, "--headless", *apart, *window, f"--screenshot={shot}", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not shot.exists():
        sys.exit(f"error: {browser} took no picture of {address}:\n{done.stderr}")
    with Image.open(shot) as image:
        few = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    few.save(FOLDER / f"{page.name}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
