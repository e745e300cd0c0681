"""How the benchmark is called.

Job: argv -> Options, and the help. Refuses to run anything. Called by `python -m tests.bench`.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tests.bench.figures import MOST_RUNS, PARTS, Part

OFFLOADS = ("gso", "gro", "vnet")
_FEWER = ", ".join(f"{part} {runs}" for part, runs in MOST_RUNS.items())
_DESCRIPTION = "Measures our userspace tunnel beside another WireGuard program, in turn, on this machine."
_EPILOG = """\
examples:
  python -m tests.bench                            everything; takes about eight minutes
  python -m tests.bench --only tcp,ping --runs 3   the figures that change first
  python -m tests.bench --without gso,gro          ours as on a kernel that has neither
  python -m tests.bench --against 'boringtun-cli -f --disable-drop-privileges'
  python -m tests.bench --name before --against 'env -C ../before .venv/bin/python -m agent.tunnel'
                                                   beside another checkout of ours

A table goes to stdout, progress to stderr, table and JSON to files. Root is needed: everything happens in
network namespaces, which are taken away afterwards.

exit status: 0 all was measured; 1 something was not, which the last lines name; 2 wrong options."""


@dataclass(frozen=True)
class Options:
    """`parts` in the order of the table; `against` is a command; the other fields are what `--help` says."""

    runs: int
    seconds: int
    idle_seconds: int
    peers: int
    callers: int
    congestion: str
    parts: tuple[Part, ...]
    against: tuple[str, ...]
    name: str
    without: tuple[str, ...]
    output: Path


def parse(argv: Optional[Sequence[str]] = None) -> Options:
    """Of `sys.argv` by default. Ends the process, with status 2, where the options make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--runs", type=_positive, default=5, metavar="N", help=f"runs of each; at most: {_FEWER} (default: 5)"
    )
    add(
        "--seconds",
        type=_positive,
        default=3,
        metavar="S",
        help="length of each measurement under load (default: 3); fairness takes three times as long",
    )
    add("--only", type=_parts, default=PARTS, metavar="PART,...", help=f"of {','.join(PARTS)} (default: all)")
    add(
        "--against",
        type=_command,
        default=("wireguard-go", "-f"),
        metavar="COMMAND",
        help="the other program: the interface's name is appended, it must stay in the foreground and speak "
        "UAPI (default: 'wireguard-go -f')",
    )
    add("--name", metavar="NAME", help="what the table calls it (default: the first word of its command)")
    add(
        "--without",
        type=_offloads,
        default=(),
        metavar="OFFLOAD,...",
        help=f"what ours must not use, of {','.join(OFFLOADS)}",
    )
    add("--idle-seconds", type=_positive, default=20, metavar="S", help="of the part idle (default: 20)")
    add("--peers", type=_positive, default=50, metavar="N", help="of fairness, at most 240 (default: 50)")
    add("--callers", type=_positive, default=1000, metavar="N", help="peers of handshakes (default: 1000)")
    add(
        "--congestion",
        default="cubic",
        metavar="NAME",
        help="of TCP; ping beside TCP depends on it most (default: %(default)s, as is Linux's own)",
    )
    add(
        "--output",
        type=Path,
        default=Path(".cache/bench.json"),
        metavar="FILE",
        help="where the JSON is saved, and beside it, ending with .txt, the table (default: %(default)s)",
    )
    found = parser.parse_args(argv)
    if found.peers > 240:
        parser.error("--peers: there are addresses for 240 at most")
    found.name = found.name or Path(found.against[0]).name
    fields = {name: value for name, value in vars(found).items() if name != "only"}
    return Options(parts=found.only, **fields)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _parts(text: str) -> tuple[Part, ...]:
    wanted = _words(text, PARTS)
    return tuple(part for part in PARTS if part in wanted)


def _offloads(text: str) -> tuple[str, ...]:
    return _words(text, OFFLOADS)


def _words(text: str, known: Sequence[str]) -> tuple[str, ...]:
    words = tuple(text.split(","))
    for word in words:
        if word not in known:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
    return words


def _command(text: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no command: {error}") from error
    if not words:
        raise argparse.ArgumentTypeError("an empty command runs nothing")
    return words
