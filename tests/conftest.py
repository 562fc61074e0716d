"""What several test files share: the demo data, built once per session by the code of scripts/demo."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts" / "demo"))

from demo_build import Demo, build  # noqa: E402

settings.register_profile("no deadline", deadline=None)  # machines are shared, and first calls import
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo folder. Read only: a test that writes, writes elsewhere."""
    made, _ = build(tmp_path_factory.mktemp("demo") / "out")
    return made
