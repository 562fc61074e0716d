"""Masks of LoRA's dropout: a pack must have the same one whenever it comes, and another pack another.

The hash against NumPy's integers, on every device, although Ascend trains with the generator: int32 products must wrap
for it. The generator, on Ascend, against itself: NumPy has no such numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import mindspore as ms
import numpy as np
import numpy.typing as npt

from train.adapters.lora import AdapterDropout, has_generator
from train.cluster.world import World
from train.doctor.findings import Finding, failed, ok, skipped

_RATE = 0.25
_SHAPE = (512, 96)
_SALT, _SEED = 12345, 7


def check(world: World) -> Iterator[Finding]:
    yield check_hash()
    what = "dropout of the generator"
    if has_generator(world.device):
        yield check_generator(what, AdapterDropout(_RATE))
    else:
        yield skipped(what, "Ascend alone has DropoutGenMaskExt")


def check_hash() -> Finding:
    what = "dropout of the hash"
    dropout = AdapterDropout(_RATE)
    dropout.has_generator = False
    dropped = _dropped(dropout, position=3)
    dropout.begin(_SEED, 3)
    seed, threshold = dropout.state.asnumpy().tolist()
    wrong = int((dropped != hash_drops(seed, threshold)).sum())
    share = f"{dropped.mean():.4f} of {dropped.size} elements dropped, at a rate of {_RATE}"
    if wrong:
        return failed(what, f"{wrong} elements are not as NumPy has them; {share}")
    return ok(what, f"as NumPy has it; {share}")


def check_generator(what: str, dropout: AdapterDropout) -> Finding:
    first, again, other = (_dropped(dropout, position=position) for position in (3, 3, 4))
    share, kept_alike = first.mean(), (first == other).mean()
    measured = f"{share:.4f} of {first.size} elements dropped, at a rate of {_RATE}"
    if not np.array_equal(first, again):
        return failed(what, f"the same pack has another mask the second time; {measured}")
    # Two masks agree where both drop or both keep; five standard deviations of so many elements.
    allowed = 5 * 0.5 / first.size**0.5
    if abs(share - _RATE) > allowed or abs(kept_alike - (_RATE**2 + (1 - _RATE) ** 2)) > allowed:
        return failed(what, f"{measured}; of another pack's mask {kept_alike:.4f} is the same")
    return ok(what, f"the same when it comes again; {measured}")


def _dropped(dropout: AdapterDropout, *, position: int) -> npt.NDArray[np.bool_]:
    @ms.jit
    def drop(x: ms.Tensor) -> ms.Tensor:
        return dropout(x, _SALT)

    dropout.begin(_SEED, position)
    result = drop(ms.Tensor(np.ones(_SHAPE, np.float32))).asnumpy()
    dropout.end()
    return result == 0


def hash_drops(seed: int, threshold: int) -> npt.NDArray[np.bool_]:
    """`AdapterDropout._by_hash`, in unsigned integers modulo 2**32."""
    h = np.arange(np.prod(_SHAPE), dtype=np.uint32)
    h = (h ^ _unsigned(_SALT)) * _unsigned(-1640531535)
    h = (h ^ (h >> np.uint32(16)) ^ _unsigned(seed)) * _unsigned(-2048144789)
    h = (h ^ (h >> np.uint32(13))) * _unsigned(-1028477387)
    h = (h ^ (h >> np.uint32(16))) & np.uint32(0x7FFFFFFF)
    return (h < np.uint32(threshold)).reshape(_SHAPE)


def _unsigned(value: int) -> np.uint32:
    return np.uint32(value & 0xFFFFFFFF)
