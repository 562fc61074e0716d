import os
from pathlib import Path

import pytest

from train.cluster.launch.devices import count_devices, count_in_table
from train.errors import UsageError

# What `npu-smi info` prints for two of eight 910B, shortened by columns of blanks.
TABLE = """
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.0                   Version: 24.1.0                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 93.6        36                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3349 / 65536         |
+===========================+===============+====================================================+
| 1     910B3               | OK            | 90.1        37                0    / 0             |
| 0                         | 0000:01:00.0  | 0           0    / 0          3348 / 65536         |
+===========================+===============+====================================================+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| No running processes found in NPU 0                                                            |
+===========================+===============+====================================================+
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three NPUs, and what else a driver puts beside them."""
    for name in ("davinci0", "davinci1", "davinci2", "davinci_manager", "devmm_svm", "null"):
        (tmp_path / name).touch()
    return tmp_path


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "npu-smi").write_text(f"#!/bin/sh\n{program}\n")
    (folder / "npu-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_each_npu_of_the_table_counts_once() -> None:
    assert count_in_table(TABLE) == 2
    assert count_in_table("") == 0


def test_npu_smi_is_asked_first(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, f"[ $1 = info ] && cat <<'END'\n{TABLE}\nEND")
    assert count_devices({}, files) == 2


def test_device_files_are_counted_where_npu_smi_fails(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "echo 0000:C1:00.0; exit 1")
    assert count_devices({}, files) == 3


def test_a_machine_without_npus_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert count_devices({}, tmp_path) == 0


@pytest.mark.parametrize(("visible", "count"), [("0,1,5", 3), ("4-7", 4), ("0, 2-3", 3), ("", 0)])
def test_only_visible_devices_count(visible: str, count: int, files: Path) -> None:
    assert count_devices({"ASCEND_RT_VISIBLE_DEVICES": visible}, files) == count


def test_a_list_that_is_none_is_refused(files: Path) -> None:
    with pytest.raises(UsageError, match="ASCEND_RT_VISIBLE_DEVICES is 'all'"):
        count_devices({"ASCEND_RT_VISIBLE_DEVICES": "all"}, files)
