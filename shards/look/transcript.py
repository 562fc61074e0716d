"""What the tokens of a pack say, in pieces: text, special tokens, and visual spans collapsed into one piece each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer

from shards.errors import DamagedShard, UnreadableShard
from shards.files.names import MODEL_DIR, TOKENIZER_NAME
from shards.files.plain import read_own
from shards.pack import IGNORE_INDEX, Pack
from shards.segments import Segment, VisualSpan


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A run of tokens of one kind, all of them supervised or none."""

    kind: Literal["text", "special", "visual"]
    supervised: bool
    text: str  # decoded; it may hold any character, even what looks like a special token


class Transcriber:
    """Decodes tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._special = frozenset(token_id for token_id, token in added.items() if token.special)

    @classmethod
    def beside(cls, folder: Path) -> Transcriber:
        """With the tokenizer that stands beside the shards. Raises DamagedShard or UnreadableShard."""
        path = folder / MODEL_DIR / TOKENIZER_NAME
        try:
            return cls(Tokenizer.from_buffer(read_own(path)))
        except FileNotFoundError:
            raise DamagedShard(f"{path} can't be read: it is missing; copy it from the model folder") from None
        except OSError as error:
            raise UnreadableShard.of(path, error) from None
        except Exception as error:  # the library raises nothing more precise
            raise DamagedShard(f"{path} can't be read ({error}); copy it from the model folder") from None

    def pieces(self, pack: Pack, segment: Segment) -> list[Piece]:
        run_at = {
            position: (span, number)
            for span in segment.spans
            for number, run in enumerate(span.runs)
            for position in range(*run)
        }

        def kind(position: int) -> tuple[tuple[VisualSpan, int] | None, bool, bool]:
            is_special = int(pack.input_ids[position]) in self._special
            return run_at.get(position), is_special, bool(pack.labels[position] != IGNORE_INDEX)

        pieces = []
        for (visual, is_special, supervised), positions in groupby(range(segment.start, segment.stop), kind):
            if visual is not None:
                pieces.append(Piece(kind="visual", supervised=supervised, text=name_run(*visual)))
                continue
            text = self._tokenizer.decode(pack.input_ids[list(positions)].tolist(), skip_special_tokens=False)
            pieces.append(Piece(kind="special" if is_special else "text", supervised=supervised, text=text))
        return pieces


def name_span(span: VisualSpan) -> str:
    """For example "image 28x40 -> 280 tokens", in patches; videos have their temporal patches in front."""
    t, h, w = span.grid_thw
    grid = f"{h}x{w}" if span.kind == "image" else f"{t}x{h}x{w}"
    return f"{span.kind} {grid} -> {span.num_tokens} tokens"


def name_run(span: VisualSpan, number: int) -> str:
    """The same where the tokens stand in one run, else for example "video 28x40, 3 of 8 -> 280 tokens"."""
    if len(span.runs) == 1:
        return name_span(span)
    start, stop = span.runs[number]
    _, h, w = span.grid_thw
    return f"{span.kind} {h}x{w}, {number + 1} of {len(span.runs)} -> {stop - start} tokens"
