"""Records of any form beside the same conversation in the Qwen form: whatever is encoded follows from the sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from preprocess.errors import SampleError
from preprocess.read.records import ReadRecord, read_record
from preprocess.read.registry import Dataset
from preprocess.sample import Sample


def read(record: Any, **options: Any) -> ReadRecord:
    dataset = Dataset(name="d", annotation_path=Path("/d.json"), data_path=Path("/media"), **options)
    return read_record(record, dataset, index=3, member=None)


def sample(record: Any, **options: Any) -> Sample:
    return read(record, **options).sample


def reject(record: Any, **options: Any) -> SampleError:
    with pytest.raises(SampleError) as raised:
        read(record, **options)
    return raised.value


def qwen(*texts: str, system: str | None = None, **media: Any) -> dict[str, Any]:
    """Question, answer, question, answer... in the Qwen form."""
    turns = [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]
    if system is not None:
        turns.insert(0, {"from": "system", "value": system})
    return {"conversations": turns, **media}


def messages(*contents: Any, **media: Any) -> dict[str, Any]:
    """The same as `messages`, with contents of any kind."""
    turns = [{"role": ("user", "assistant")[number % 2], "content": each} for number, each in enumerate(contents)]
    return {"messages": turns, **media}
