"""Outputs without end, on a channel that is made up."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from typing import Any, cast

import paramiko
import pytest

from fleet.transport import pump as module
from fleet.transport.deadline import Deadline
from fleet.transport.pump import MOST_COMPLAINT_BYTES, TooMuchError, pump
from fleet.transport.sudo import Escalation

CHUNK = b"y\n" * 5000


class Channel:
    """Says what it is given, then ends with code 0."""

    exit_status = 0

    def __init__(self, stdout: Iterable[bytes], stderr: Iterable[bytes]) -> None:
        self._stdout: Iterator[bytes] = iter(stdout)
        self._stderr: Iterator[bytes] = iter(stderr)
        self.status_event = threading.Event()
        self.status_event.set()

    def recv(self, _most: int) -> bytes:
        return next(self._stdout, b"")

    def recv_stderr(self, _most: int) -> bytes:
        return next(self._stderr, b"")

    def settimeout(self, _seconds: Any) -> None: ...

    def shutdown_write(self) -> None: ...


def run(stdout: Iterable[bytes], stderr: Iterable[bytes]) -> module.Streams:
    with Deadline(30, lambda: None) as deadline:
        channel = cast(paramiko.Channel, Channel(stdout, stderr))
        return pump(channel, b"", Escalation(False, "root"), deadline)


def test_an_output_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10**6)
    with pytest.raises(TooMuchError):
        run(itertools.repeat(CHUNK), [])
    assert run([CHUNK] * 100, []).stdout == CHUNK * 100


def test_of_complaints_the_first_are_kept() -> None:
    streams = run([b"well\n"], [b"first\n", *[CHUNK] * 1000])
    assert streams.stdout == b"well\n"
    assert streams.stderr.startswith(b"first\n")
    assert MOST_COMPLAINT_BYTES <= len(streams.stderr) < MOST_COMPLAINT_BYTES + len(CHUNK)
