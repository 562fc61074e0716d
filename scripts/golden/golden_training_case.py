"""The runs of the golden training curves: their packs and settings. scripts/golden/golden_training.py makes them with
PyTorch, tests/train/test_golden_training.py with our trainer, both from the model and the samples of golden_model_case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from golden_model_case import Sample, make_sample

NUM_STEPS = 50
PACKS_PER_STEP = 2
WARMUP_STEPS = 5
WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Adapter:
    r: int
    alpha: int
    target_modules: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    learning_rate: float  # the highest: cosine, after a warm-up
    adapter: Adapter | None = None


CASES = {
    "full": Case(learning_rate=2e-3),
    # gate_proj is in the vision tower as well as in the language model.
    "lora": Case(
        learning_rate=1e-2,
        adapter=Adapter(r=4, alpha=8, target_modules=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj")),
    ),
}


def make_packs(make_sample: Callable[..., Sample] = make_sample) -> list[list[Sample]]:
    """Samples of one pack after another, in the order of the run: text, images and videos, alone and together."""
    text = [make_sample(seed, images=[], videos=[], num_text=12) for seed in (11, 12)]
    image = [make_sample(seed, images=[(1, 6, 10)], videos=[]) for seed in (13, 14)]
    images = make_sample(15, images=[(1, 4, 6), (1, 10, 4)], videos=[])
    video = make_sample(16, images=[], videos=[(3, 6, 8)], seconds=1.33)
    both = make_sample(17, images=[(1, 4, 4)], videos=[(2, 4, 6)], seconds=0.5)
    different = [[text[0], image[0]], [video], [images, text[1]], [image[1]], [both, text[0]]]
    return [different[position % len(different)] for position in range(NUM_STEPS * PACKS_PER_STEP)]
