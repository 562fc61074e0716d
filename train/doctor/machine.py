"""What this machine is: device, memory, versions. Ranks must have the same versions."""

from __future__ import annotations

import os
import platform
import zlib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mindspore as ms

from train.cluster.launch.devices import count_devices
from train.cluster.world import World
from train.doctor.findings import Finding, failed, ok

_PACKAGES = ("mindspore", "numpy", "pyarrow", "safetensors", "tokenizers")
# Where the installers of CANN and of the driver write their versions.
_TOOLKIT_HOME = "ASCEND_HOME_PATH"  # set by CANN's set_env.sh
_TOOLKIT = Path("/usr/local/Ascend/ascend-toolkit/latest")
_TOOLKIT_FILES = ("version.cfg", "*-linux/ascend_toolkit_install.info")
_DRIVER = Path("/usr/local/Ascend/driver/version.info")
_VARIABLES = ("ASCEND_", "HCCL_", "MS_", "DEVICE_ID", "RANK_", "OMP_NUM_THREADS")
_GB = 10**9


def check(world: World) -> Iterator[Finding]:
    yield ok("device", _device(world))
    versions = {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}
    if world.device == "Ascend":
        versions |= {"CANN": _toolkit(os.environ), "driver": _line_of_version(_DRIVER)}
    text = ", ".join(f"{name} {value}" for name, value in versions.items())
    sums = world.gather(float(zlib.crc32(text.encode())))
    if len(set(sums.tolist())) > 1:
        yield failed("versions", f"not the same on all ranks; here: {text}")
    else:
        yield ok("versions", text)
    given = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)]
    yield ok("environment", " ".join(given) or "no variable of MindSpore, CANN or HCCL")


def _device(world: World) -> str:
    text = f"{world.device}, {platform.machine()}, {os.cpu_count()} processors, {world.size} ranks"
    if world.device != "Ascend":
        return text
    properties = ms.hal.get_device_properties(0)
    return (
        f"{text}, {count_devices()} NPUs, {ms.hal.get_device_name(0)}, "
        f"{properties.total_memory / _GB:.1f} GB (--device_memory)"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _toolkit(environment: Mapping[str, str]) -> str:
    folder = Path(environment.get(_TOOLKIT_HOME, _TOOLKIT))
    files = [path for pattern in _TOOLKIT_FILES for path in sorted(folder.glob(pattern))]
    return _line_of_version(files[0]) if files else f"not found in {folder}"


def _line_of_version(path: Path) -> str:
    """The first line of a file that says a version."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"not found in {path}"
    return next((line.strip() for line in lines if "version" in line.lower() and "=" in line), f"not said in {path}")
