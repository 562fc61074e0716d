import threading
from itertools import count

import pytest

from train.stream import ReadAhead


def test_reading_ahead_keeps_the_order_and_the_bound() -> None:
    taken_from_source = []

    def source() -> object:
        for item in count():
            taken_from_source.append(item)
            yield item

    with ReadAhead(lambda item: item * 10, source(), depth=3) as ahead:
        assert taken_from_source == [0, 1, 2]
        assert [next(ahead) for _ in range(5)] == [0, 10, 20, 30, 40]
        assert taken_from_source == list(range(8))


def test_reading_ahead_ends_with_its_items() -> None:
    with ReadAhead(str, range(4), depth=10) as ahead:
        assert list(ahead) == ["0", "1", "2", "3"]


def test_an_error_while_reading_comes_out_in_its_place() -> None:
    def load(item: int) -> int:
        if item == 2:
            raise OSError("pack 2 can't be read")
        return item

    with ReadAhead(load, range(5), depth=4) as ahead:
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

    with ReadAhead(load, range(100), depth=50):
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

    with ReadAhead(load, range(3), depth=3) as ahead:
        next(ahead)
        before = ahead.seconds_waited
        threading.Timer(0.05, release.set).start()
        next(ahead)
        assert ahead.seconds_waited - before > 0.03
