"""python -m shards info|verify|show|convert.

Exit codes: 0 done; 1 damaged, or the system failed; 2 wrong usage, or not a dataset; 141 nobody read on.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from shards.errors import DamagedShard, FlagError, ShardError, UnreadableShard
from shards.files.formats import ARROW, COMPRESSIONS, FILE_FORMATS, format_of
from shards.files.text import visible
from shards.look.info import info_text
from shards.look.readable import counted, readable_bytes
from shards.manifest import read_manifest
from shards.model_folder import ModelFolderError
from shards.reader import open_shards

_ENDED_BY_READER = 128 + signal.SIGPIPE  # what a shell shows of programs that the signal ends


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        code = options.command(options)
        sys.stdout.flush()  # so that a failure to write is one that is caught here
        return code
    except BrokenPipeError:  # whoever reads has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would fail again at the end
        return _ENDED_BY_READER
    except (ShardError, ModelFolderError, FlagError) as error:
        print(f"shards: error: {visible(str(error))}", file=sys.stderr)
        return 1 if isinstance(error, (DamagedShard, UnreadableShard)) else 2
    except OSError as error:
        print(f"shards: stopped: {visible(str(error))}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m shards", description="Look at, verify and convert datasets.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    info = commands.add_parser("info", help="what a dataset holds")
    verify = commands.add_parser("verify", help="whether every byte is as it was written, and every row valid")
    verify.add_argument("--quick", action="store_true", help="hashes only; no row is decoded")
    show = commands.add_parser("show", help="what single packs hold: text, labels, pictures")
    show.add_argument("--pack", default="0", metavar="N", help="which packs, for example 5 or 0,5,9-12 (default 0)")
    show.add_argument("--html", type=Path, metavar="FILE", help="write a page with the pictures instead")
    convert = commands.add_parser("convert", help="the same rows in another file format, or compressed, or expanded")
    for command in (info, verify, show):
        command.add_argument("folder", type=Path, metavar="DIR")
    convert.add_argument("folder", type=Path, metavar="SRC")
    convert.add_argument("target", type=Path, metavar="DST", help="folder to write; new, or a conversion to go on with")
    convert.add_argument("--format", choices=FILE_FORMATS, help="default: arrow")
    convert.add_argument("--compress", choices=COMPRESSIONS, help="of arrow's patches; default: none")
    convert.set_defaults(refuse=convert.error)
    for command in (verify, convert):
        command.add_argument(
            "--workers", type=_count, default=len(os.sched_getaffinity(0)), metavar="N", help="processes; 0: this one"
        )
    for command, function in ((info, _info), (verify, _verify), (show, _show), (convert, _convert)):
        command.set_defaults(command=function)
    return parser


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return int(text)


def _info(options: argparse.Namespace) -> int:
    _say(info_text(read_manifest(options.folder), options.folder))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from shards.verify import verify

    with _bar("verify") as bar:
        problems = verify(options.folder, quick=options.quick, workers=options.workers, on_shard=partial(_advance, bar))
    for problem in problems:
        _say(problem)
    if problems:
        files = len({problem.file for problem in problems})
        _say(f"{options.folder} is damaged: {counted(len(problems), 'problem')} in {counted(files, 'file')}")
        return 1
    manifest = read_manifest(options.folder)
    num_bytes = readable_bytes(sum(shard.num_bytes for shard in manifest.shards))
    holds = f"{counted(len(manifest.shards), 'shard')}, {counted(manifest.num_packs, 'pack')}, {num_bytes}"
    checked = "hashes of all files; rows were not decoded" if options.quick else "hashes, rows and sums"
    _say(f"{options.folder} is whole: {holds} ({checked})")
    return 0


def _show(options: argparse.Namespace) -> int:
    from shards.look.show import COLOUR, PLAIN, pack_text
    from shards.look.transcript import Transcriber

    shards = open_shards(options.folder)
    numbers = pack_numbers(options.pack, len(shards))
    transcriber = Transcriber.beside(options.folder)
    if options.html is not None:
        from shards.look.page import packs_page, write_page

        _say(write_page(options.html, packs_page(shards, numbers, transcriber)))
        return 0
    marks = COLOUR if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else PLAIN
    for position, number in enumerate(numbers):
        print(("\n" if position else "") + pack_text(shards[number], number, shards.manifest, transcriber, marks))
    return 0


def pack_numbers(text: str, num_packs: int) -> list[int]:
    """ "0,5,9-12" -> [0, 5, 9, 10, 11, 12]. Raises FlagError."""
    numbers: dict[int, None] = {}  # an ordered set
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18})\s*)?", part)
        first = int(match[1]) if match else 0
        last = int(match[2]) if match and match[2] else first
        if match is None or last < first:
            raise FlagError(f"--pack {text}: say numbers or ranges, for example 0,5,9-12")
        if last >= num_packs:
            raise FlagError(f"--pack {text}: the dataset has {num_packs:,} packs, the first is 0")
        numbers.update(dict.fromkeys(range(first, last + 1)))
    return list(numbers)


def _convert(options: argparse.Namespace) -> int:
    from shards.convert import convert_shards

    if options.format is None and options.compress is None:
        options.refuse("say --format arrow|mindrecord or --compress none|zstd")
    format = format_of(options.format or ARROW, options.compress or "none")
    if format is None:
        return options.refuse(f"--compress {options.compress} does not go with --format {options.format}")
    num_shards = len(read_manifest(options.folder).shards)
    with _bar("convert") as bar:
        manifest = convert_shards(
            options.folder,
            options.target,
            format=format,
            workers=options.workers,
            on_shard=partial(_advance, bar, num_shards),
        )
    num_bytes = readable_bytes(sum(shard.num_bytes for shard in manifest.shards))
    _say(
        f"wrote {counted(manifest.num_packs, 'pack')}, {num_bytes} in {counted(len(manifest.shards), 'shard')} "
        f"({manifest.format}) to {options.target}"
    )
    return 0


def _say(text: object) -> None:
    print(visible(str(text), keep="\n\t"))


def _bar(name: str) -> tqdm[NoReturn]:
    return tqdm(unit="shard", desc=name, leave=False, disable=None)  # None: in a terminal only


def _advance(bar: tqdm[NoReturn], total: int) -> None:
    bar.total = total
    bar.update()


def run() -> int:
    """The command vl-shards."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # text may hold what this terminal can't show
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
