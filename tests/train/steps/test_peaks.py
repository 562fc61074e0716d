from train.steps.peaks import peak_flops


def test_peaks_are_known_for_ascend_910_only() -> None:
    assert peak_flops("Ascend910B3") == 354e12
    assert peak_flops("Ascend910_9392") == 354e12
    assert peak_flops("Ascend910ProA") == 256e12
    assert peak_flops("CPU") is None
    assert peak_flops("Ascend310P") is None
