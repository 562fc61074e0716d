from __future__ import annotations

from pathlib import Path

import numpy as np

from train.cluster.world import World
from train.doctor.machine import _line_of_version, _toolkit, check


class Others(World):
    """A world whose other rank has other versions."""

    def gather(self, values: object) -> np.ndarray:
        return np.array([float(values), 1.0])  # type: ignore[arg-type]


def test_device_and_versions_are_named() -> None:
    findings = {each.what: each for each in check(World.single())}
    assert findings["device"].detail.startswith("CPU, ")
    assert "mindspore 2.7" in findings["versions"].detail
    assert {each.outcome for each in findings.values()} == {"ok"}


def test_ranks_of_other_versions_fail() -> None:
    outcomes = {each.what: each.outcome for each in check(Others(rank=0, size=2, device="CPU"))}
    assert outcomes["versions"] == "FAILED"


def test_the_version_of_cann_is_read_where_its_installer_wrote_it(tmp_path: Path) -> None:
    assert _toolkit({"ASCEND_HOME_PATH": str(tmp_path)}) == f"not found in {tmp_path}"
    (tmp_path / "aarch64-linux").mkdir()
    (tmp_path / "aarch64-linux" / "ascend_toolkit_install.info").write_text("package_name=x\nversion=8.2.RC1\n")
    assert _toolkit({"ASCEND_HOME_PATH": str(tmp_path)}) == "version=8.2.RC1"


def test_a_driver_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert _line_of_version(tmp_path / "none").startswith("not found in")
