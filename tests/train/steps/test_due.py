import pytest

from shards.order import PackOrder
from train.steps.due import is_due


@pytest.mark.parametrize(
    ("strategy", "every", "due"),
    [("no", 1, []), ("steps", 4, [4, 8, 10]), ("steps", 5, [5, 10]), ("epoch", 1, [2, 3, 5, 6, 8, 9, 10])],
)
def test_strategies_say_after_which_steps(strategy: str, every: int, due: list[int]) -> None:
    """Steps of 4 out of 6 packs: epochs end within steps 2, 3, 5, 6, ..."""
    order = PackOrder(num_packs=6, seed=0, packs_per_step=4, num_positions=39)
    assert [step for step in range(1, order.num_steps + 1) if is_due(strategy, every, step, order)] == due
