"""The photographs in the READMEs are there, as large as their script says, and light to clone."""

import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

from draw_pages import FOLDER, PAGES, Page  # noqa: E402


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_photograph_is_of_the_size_that_the_script_says_and_small(page: Page) -> None:
    path = FOLDER / f"{page.name}.png"
    with Image.open(path) as image:
        assert image.size == (2 * page.size[0], 2 * page.size[1]), "run: python scripts/draw_pages.py"
    assert path.stat().st_size < 250_000


@pytest.mark.parametrize("readme", sorted(path.name for path in ROOT.glob("README*.md")))
def test_readmes_show_the_photographs(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    for page in PAGES:
        assert f"scripts/pictures/{page.name}.png" in text
