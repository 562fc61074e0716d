"""What an error of the disk means where a run begins: a wrong folder, or no room for now."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

import preprocess.run
from preprocess.errors import ConfigError
from preprocess.output_dir import beginning_in
from tests.preprocess.workshop import Workshop, talk


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_not_a_wrong_folder(tmp_path: Path, number: int) -> None:
    error = OSError(number, os.strerror(number), str(tmp_path / "plan"))
    with pytest.raises(OSError) as raised, beginning_in(tmp_path):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOTDIR])
def test_a_folder_that_can_never_be_written_is_a_wrong_one(tmp_path: Path, number: int) -> None:
    with pytest.raises(ConfigError, match=rf"^output_dir {tmp_path}: .*; name another folder"), beginning_in(tmp_path):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 1), (errno.EDQUOT, 1), (errno.EROFS, 2)])
def test_a_run_says_whether_the_same_command_can_go_on(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def fail(folder: Path, inputs: Any) -> None:
        raise OSError(number, os.strerror(number), str(folder))

    workshop.dataset([talk()])
    monkeypatch.setattr(preprocess.run, "write_inputs", fail)
    outcome = workshop.command("run", *workshop.flags())
    assert outcome.code == code
    assert ("make room, and run the same command again" in outcome.error) == (code == 1)
    assert ("name another folder" in outcome.error) == (code == 2)
