"""Runs targets: the inputs that are kept, or the fuzzer for a while.

Called by `python -m tests.fuzz` and by the tests.
"""

from __future__ import annotations

import importlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
TARGETS = tuple(sorted(file.stem for file in (HERE / "targets").glob("[a-z]*.py")))
HANG_SECONDS = 20
"""An input that takes longer is a failure."""
MOST_MEGABYTES = 2048
_LONGEST = 4096


@dataclass(frozen=True)
class Run:
    """How a run ended; `failing` is the input that failed, where there is one."""

    exit_code: int
    log: str
    failing: bytes | None


def kept(name: str) -> list[Path]:
    """The inputs that are kept for a target."""
    return sorted((CORPUS / name).iterdir())


def checker(name: str) -> Callable[[bytes], None]:
    """The target's check, without the fuzzer."""
    check: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.targets.{name}").check
    return check


def fuzz(name: str, seconds: int, seed: int, found: Path) -> Run:
    """Fuzzes one target from the inputs that are kept; new ones go into the folder `found`.

    `seed` 0 takes another one each time.
    """
    with tempfile.TemporaryDirectory() as scratch:
        words = Path(scratch) / "words"
        words.write_text("".join(f'"{_escaped(token)}"\n' for token in _tokens(name)))
        flags = [f"-max_total_time={seconds}", f"-seed={seed}", f"-dict={words}", "-print_final_stats=1"]
        return _run(name, Path(scratch), [*flags, str(found), str(CORPUS / name)])


def merge(name: str, found: Path) -> Run:
    """Keeps of `found` what reaches lines that the kept inputs do not, as few and as short as may be."""
    with tempfile.TemporaryDirectory() as scratch:
        return _run(name, Path(scratch), ["-merge=1", "-use_counters=0", str(CORPUS / name), str(found)])


def _run(name: str, scratch: Path, arguments: list[str]) -> Run:
    flags = [f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={MOST_MEGABYTES}", f"-max_len={_LONGEST}"]
    again = scratch / "again"
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(again)]
    again.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    again.chmod(0o700)
    log = scratch / "log"
    with log.open("wb") as stream:
        done = subprocess.run(
            [*command, *flags, f"-artifact_prefix={scratch}/failing-", *arguments],
            cwd=HERE.parent.parent,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    failing = [file.read_bytes() for file in scratch.glob("failing-*")]
    return Run(done.returncode, log.read_text(errors="replace"), failing[0] if failing else None)


def _tokens(name: str) -> tuple[bytes, ...]:
    tokens: tuple[bytes, ...] = importlib.import_module(f"tests.fuzz.targets.{name}").TOKENS
    return tokens


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)
