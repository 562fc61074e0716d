"""Boxes and points of a text as shares of the sides of its pictures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from demo_build import Demo

from preprocess.report.marks import marks_of
from shards import ModelConstants, read_model_constants

GRID = (1, 10, 20)  # 140 x 280 pixels


@pytest.fixture
def constants(demo: Demo) -> ModelConstants:
    return read_model_constants(demo.model)


def test_pixels_of_the_resized_image_become_shares_of_its_sides(constants: ModelConstants) -> None:
    text = json.dumps([{"bbox_2d": [28, 14, 280, 140], "label": "a"}, {"point_2d": [140, 70]}])
    box, point = marks_of(constants)(text, [GRID])
    assert (box.left, box.top, box.right, box.bottom, box.label) == (0.1, 0.1, 1.0, 1.0, "a")
    assert (point.left, point.top) == (0.5, 0.5)
    assert point.is_point
    assert not box.is_point


def test_thousandths_are_the_unit_of_families_that_have_it(constants: ModelConstants) -> None:
    [box] = marks_of(replace(constants, model_type="qwen2_vl"))('{"bbox_2d": [100, 200, 300, 400]}', [GRID])
    assert (box.left, box.top, box.right, box.bottom) == (0.1, 0.2, 0.3, 0.4)


def test_what_lies_outside_is_cut(constants: ModelConstants) -> None:
    [box] = marks_of(constants)('{"bbox_2d": [-5, 0, 900, 70]}', [GRID])
    assert (box.left, box.right) == (0, 1)


def test_of_several_images_only_the_named_one_is_marked(constants: ModelConstants) -> None:
    box = {"bbox_2d": [0, 0, 1, 1]}
    text = json.dumps([{**box, "image_index": 1}, box, {**box, "image_index": 9}])
    assert [mark.image for mark in marks_of(constants)(text, [GRID, GRID])] == [1]


@pytest.mark.parametrize("text", ["", "a cat", '{"bbox_2d": [1, 2, 3]}', '{"bbox_2d": [1, 2', '{"bbox_2d": null}'])
def test_a_text_without_whole_boxes_has_no_marks(constants: ModelConstants, text: str) -> None:
    assert marks_of(constants)(text, [GRID]) == []
