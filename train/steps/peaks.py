"""What devices can do at most: the other half of model FLOPs utilisation. What a pack needs: `TrainedModel.work_of`."""

from __future__ import annotations

# Of one device, float16 or bfloat16, operations a second; by the start of the name that MindSpore gives it, the longer
# names first. 910: Huawei's announcement (256 TFLOPS, August 2019). 910B and 910_93 (a die): 24 cores of 4,096
# multiply-adds a cycle at 1.8 GHz, the number that verl's flops_counter.py uses; variants with fewer cores have less.
_PEAK_FLOPS = (("Ascend910B", 354e12), ("Ascend910_93", 354e12), ("Ascend910", 256e12))


def peak_flops(device_name: str) -> float | None:
    """None where it is not known."""
    return next((peak for start, peak in _PEAK_FLOPS if device_name.startswith(start)), None)
