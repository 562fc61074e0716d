"""The pictures of the READMEs are those that their script draws."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

from draw_way import FOLDER, THEMES, draw  # noqa: E402


@pytest.mark.parametrize("name", THEMES)
def test_the_picture_is_as_it_is_drawn_and_well_formed(name: str) -> None:
    text = draw(THEMES[name])
    assert (FOLDER / f"way-{name}.svg").read_text(encoding="utf-8") == text, "run: python scripts/draw_way.py"
    assert ElementTree.fromstring(text).tag.endswith("svg")


@pytest.mark.parametrize("readme", sorted(path.name for path in ROOT.glob("README*.md")))
def test_readmes_show_pictures_that_are_there(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    for name in THEMES:
        assert f"scripts/pictures/way-{name}.svg" in text
