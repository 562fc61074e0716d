import threading
from collections.abc import Iterator
from itertools import count

import pytest

from train.steps.stream import ReadAhead


def test_reading_ahead_keeps_the_order_and_the_bound() -> None:
    made: list[int] = []
    taken: list[int] = []

    def source() -> Iterator[int]:
        for item in count():
            assert len(made) < len(taken) + 1 + 3, "made more than 3 ahead of the one that is taken now"
            made.append(item)
            yield item * 10

    with ReadAhead(source(), depth=3) as ahead:
        for _ in range(50):
            taken.append(next(ahead))
    assert taken == list(range(0, 500, 10))
    assert len(made) >= 50


def test_items_are_made_before_they_are_asked_for() -> None:
    third_is_made = threading.Event()

    def source() -> Iterator[int]:
        yield from (0, 1)
        third_is_made.set()
        yield 2

    with ReadAhead(source(), depth=3) as ahead:
        assert third_is_made.wait(10)
        assert list(ahead) == [0, 1, 2]


def test_reading_ahead_ends_with_its_items() -> None:
    with ReadAhead(map(str, range(4)), depth=10) as ahead:
        assert list(ahead) == ["0", "1", "2", "3"]
        assert list(ahead) == []


def test_an_error_while_reading_comes_out_in_its_place() -> None:
    def load(item: int) -> int:
        if item == 2:
            raise OSError("pack 2 can't be read")
        return item

    with ReadAhead(map(load, range(5)), depth=4) as ahead:
        assert [next(ahead), next(ahead)] == [0, 1]
        with pytest.raises(OSError, match="pack 2"):
            next(ahead)


def test_leaving_stops_the_thread_and_drops_what_was_not_begun() -> None:
    entered, release, begun = threading.Event(), threading.Event(), []

    def load(item: int) -> int:
        begun.append(item)
        entered.set()
        release.wait(10)
        return item

    with ReadAhead(map(load, range(100)), depth=50):
        assert entered.wait(10)
        threading.Timer(0.01, release.set).start()
    assert begun == [0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_waiting_for_data_is_measured_and_having_it_is_not() -> None:
    release = threading.Event()

    def load(item: int) -> int:
        if item == 1:
            release.wait(10)
        return item

    with ReadAhead(map(load, range(3)), depth=3) as ahead:
        next(ahead)
        before = ahead.seconds_waited
        threading.Timer(0.05, release.set).start()
        next(ahead)
        assert ahead.seconds_waited - before > 0.03
