"""Shapes of a pack: every token has its place, and huge packs draw no more points than a screen shows."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from shards.look.plots import boxes_path, position_paths, supervised_ranges
from tests.shards.packs import make_pack


def points(path: str) -> list[list[tuple[int, int]]]:
    """[(x, y), ...] of each line of a path."""
    lines = [line.split("L") for line in path.split("M")[1:]]
    return [[(int(x), int(y)) for x, y in (point.split() for point in line)] for line in lines]


def test_boxes_stand_side_by_side() -> None:
    assert boxes_path([(2, 5), (9, 10)], 10) == "M2 0h3v10h-3zM9 0h1v10h-1z"
    assert boxes_path([], 10) == ""


def test_supervised_ranges_are_the_runs_of_labels() -> None:
    pack = make_pack(texts=(4, 3, 1, 2))
    labels = pack.labels.copy()
    labels[[2, 3]] = pack.input_ids[[2, 3]]
    assert list(supervised_ranges(replace(pack, labels=labels))) == [(2, 4), (6, 7), (9, 10)]


def test_lines_bend_where_positions_do_and_begin_anew_with_each_sample() -> None:
    pack = make_pack(texts=(6, 4))
    rows = np.tile(np.array([0, 1, 2, 2, 2, 5, 0, 1, 2, 3], np.int32), (3, 1))
    rows[1, 4] = 9
    temporal, height, width = position_paths(replace(pack, position_ids=rows))
    assert points(temporal) == [[(0, 0), (2, 2), (4, 2), (5, 5)], [(6, 0), (9, 3)]]
    assert points(height) == [[(0, 0), (2, 2), (3, 2), (4, 9), (5, 5)], [(6, 0), (9, 3)]]
    assert width == temporal


def test_a_sample_of_one_token_is_a_point() -> None:
    assert points(position_paths(make_pack(texts=(1,)))[0]) == [[(0, 0)]]


def test_a_huge_pack_keeps_its_extremes_in_few_points() -> None:
    size = 200_000
    pack = make_pack(texts=(size,))
    zigzag = np.random.default_rng(0).integers(0, 1000, size).astype(np.int32)
    zigzag[[0, 77_777]] = 0, 5000
    path = position_paths(replace(pack, position_ids=np.stack([zigzag] * 3)))[2]
    [line] = points(path)
    assert 1000 < len(line) <= 2000
    assert (77_777, 5000) in line
    assert [x for x, _ in line] == sorted(x for x, _ in line)
    assert not re.search(r"[^ML0-9 ]", path)
