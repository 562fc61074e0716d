import pytest

from train.cluster.environment import Place, find_place, set_hccl_timeouts
from train.errors import UsageError


def test_a_process_without_variables_is_alone() -> None:
    assert find_place({}) is None
    assert find_place({"RANK_SIZE": "1", "MS_WORKER_NUM": "1"}) is None


def test_a_rank_is_found_by_the_variables_of_msrun() -> None:
    rank = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "8", "MS_NODE_ID": "3", "RANK_ID": "3"}
    assert find_place(rank) == Place(size=8, rank=3, is_scheduler=False)


def test_the_scheduler_may_say_the_rank() -> None:
    assert find_place({"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "8"}) == Place(size=8, rank=None, is_scheduler=False)


def test_the_scheduler_is_no_rank() -> None:
    found = find_place({"MS_ROLE": "MS_SCHED", "MS_WORKER_NUM": "2", "RANK_ID": "0"})
    assert found == Place(size=2, rank=None, is_scheduler=True)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK_SIZE": "8"}, "RANK_SIZE is 8, but MS_ROLE is not set"),
        ({"MS_WORKER_NUM": "2"}, "MS_WORKER_NUM is 2, but MS_ROLE is not set"),
        ({"MS_ROLE": "MS_WORKER"}, "MS_WORKER_NUM is not set"),
        ({"MS_ROLE": "MS_SERVER", "MS_WORKER_NUM": "2"}, "MS_ROLE is MS_SERVER"),
        ({"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2", "MS_NODE_ID": "2"}, "rank 2 of 2 ranks"),
        ({"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "two"}, "MS_WORKER_NUM is 'two'"),
        ({"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2", "RANK_ID": "-1"}, "RANK_ID is '-1'"),
    ],
)
def test_contradictions_are_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_place(variables)


def test_ranks_wait_longer_than_compiling_takes_unless_the_user_decided() -> None:
    variables = {"HCCL_EXEC_TIMEOUT": "68"}
    set_hccl_timeouts(variables)
    assert variables == {"HCCL_CONNECT_TIMEOUT": "1800", "HCCL_EXEC_TIMEOUT": "68"}
