"""Qwen2-VL and Qwen3-VL against PyTorch (scripts/golden/golden_families_models.py), and that packing is invisible."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.train.golden_case import CompiledModel, digest
from tests.train.golden_families import FAMILIES, GoldenFamily, golden_families, sketches

LOSS_TOLERANCE = 1e-5
# Sketches tell norms to about 12%: half of the 1e-4 that whole gradients must keep leaves room for that.
GRADIENT_TOLERANCE = 5e-5
SAMPLES = ("text", "image", "images", "video", "mixed")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> GoldenFamily:
    return GoldenFamily(request.param)


@pytest.fixture(scope="module")
def compiled(family: GoldenFamily) -> CompiledModel:
    """With room for all samples in one pack."""
    whole = family.pack(*family.samples.values())
    return family.compile([whole], pack_length=whole.num_tokens + 20)


def assert_equal_to_golden(compiled: CompiledModel, family: GoldenFamily, sample: str, case: str) -> None:
    golden, prefix = golden_families(), f"{family.name}/{case}"
    weights = {parameter.name: parameter.asnumpy() for parameter in compiled.model.get_parameters()}
    assert digest(weights) == str(golden[f"{prefix}/weights"]), "the two sides made different weights"

    pack = family.pack(family.samples[sample])
    loss_sum, gradients = compiled.step(pack)
    count = pack.num_label_tokens  # PyTorch's loss is a mean
    assert abs(loss_sum / count - golden[f"{prefix}/loss"]) <= LOSS_TOLERANCE

    names = family.golden_names(case)
    ours = sketches(gradients, names)
    ends = np.cumsum([len(ours[name]) for name in names])
    theirs = dict(zip(names, np.split(golden[f"{prefix}/sketches"] * count, ends[:-1]), strict=True))
    errors = {name: relative_error(ours[name], theirs[name]) for name in names}
    worst = max(errors, key=errors.__getitem__)
    print(f"{prefix}: loss {loss_sum / count - golden[f'{prefix}/loss']:.1e}, {worst} {errors[worst]:.1e}")
    assert errors[worst] <= GRADIENT_TOLERANCE, f"{worst}: {errors[worst]}"
    assert all(not gradients[name].any() for name in set(gradients) - set(names)), "a gradient that PyTorch lacks"


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours.astype(np.float64) - theirs) / np.linalg.norm(theirs.astype(np.float64)))


@pytest.mark.parametrize("sample", SAMPLES)
def test_loss_and_every_gradient_equal_pytorchs(sample: str, family: GoldenFamily, compiled: CompiledModel) -> None:
    assert_equal_to_golden(compiled, family, sample, sample)


def test_tied_head_gives_the_embedding_both_gradients(family: GoldenFamily) -> None:
    compiled = family.compile([family.pack(family.samples["mixed"])], is_tied=True)
    assert "lm_head.weight" not in {parameter.name for parameter in compiled.model.get_parameters()}
    assert_equal_to_golden(compiled, family, "mixed", "tied")


def test_golden_values_cover_what_they_should(family: GoldenFamily) -> None:
    origin = json.loads(str(golden_families()["origin"]))
    assert origin["transformers"] == "4.57.1" and origin["torch"]
    model = family.build()
    assert sum(parameter.size for parameter in model.get_parameters()) <= 120_000
    every_name = {parameter.name for parameter in model.get_parameters()}
    for sample in ("image", "images", "video", "mixed"):
        assert set(family.golden_names(sample)) == every_name
    assert not any("visual." in name for name in family.golden_names("text"))
    assert family.samples["video"].video_grid_thw[0, 0] > 1 and len(family.samples["mixed"].video_grid_thw) == 2


def test_logits_in_a_pack_equal_those_alone(family: GoldenFamily, compiled: CompiledModel) -> None:
    whole = family.pack(*family.samples.values())
    packed = np.split(compiled.logits(whole), whole.cu_seqlens[1:-1])
    for (name, sample), ours in zip(family.samples.items(), packed, strict=True):
        alone = compiled.logits(family.pack(sample))
        assert np.ptp(alone) > 1
        np.testing.assert_allclose(ours, alone, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("changed", ["image", "mixed"])
def test_other_pixels_of_a_sample_leave_the_others_bit_identical(
    changed: str, family: GoldenFamily, compiled: CompiledModel
) -> None:
    before = family.pack(*family.samples.values())
    sample = family.samples[changed]
    inverted = replace(sample, image_patches=255 - sample.image_patches, video_patches=255 - sample.video_patches)
    after = family.pack(*{**family.samples, changed: inverted}.values())
    logits = [np.split(compiled.logits(pack), pack.cu_seqlens[1:-1]) for pack in (before, after)]
    for name, old, new in zip(family.samples, *logits, strict=True):
        assert np.array_equal(old, new) == (name != changed), name


def test_loss_and_gradients_of_a_pack_are_the_sums_of_its_samples(
    family: GoldenFamily, compiled: CompiledModel
) -> None:
    loss_sum, gradients = compiled.step(family.pack(*family.samples.values()))
    alone = [compiled.step(family.pack(sample)) for sample in family.samples.values()]
    assert loss_sum == pytest.approx(sum(loss for loss, _ in alone), rel=1e-6)
    for name, gradient in gradients.items():
        total = sum(each[name].astype(np.float64) for _, each in alone)
        assert relative_error(gradient, total) <= 2e-5, name


def test_a_pack_of_nothing_has_no_loss_and_no_gradient(compiled: CompiledModel) -> None:
    loss_sum, gradients = compiled.step(None)
    assert loss_sum == 0
    assert all(not gradient.any() for gradient in gradients.values())  # NaN would be true


def test_recomputed_layers_give_the_same_bits(family: GoldenFamily, compiled: CompiledModel) -> None:
    recomputed = CompiledModel(family.build(), compiled.shape, family.constants)
    recomputed.model.recompute_layers()
    pack = family.pack(family.samples["mixed"])
    (loss, gradients), (again, others) = (each.step(pack) for each in (compiled, recomputed))
    assert loss == again
    for name, gradient in gradients.items():
        assert gradient.any() and gradient.tobytes() == others[name].tobytes(), name
