from __future__ import annotations

import time

import pytest

from fleet.transport.base import TransportError
from fleet.transport.local import LocalTransport
from fleet.transport.sudo import Escalation

HERE = LocalTransport("here", Escalation(False, "root"), 5.0)


def test_bytes_exit_code_and_complaints_come_back() -> None:
    done = HERE.run("cat; echo oops >&2; exit 3", stdin=b"\xff\x00in", timeout=10)
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"\xff\x00in", "oops\n")


def test_megabytes_go_both_ways_at_once() -> None:
    data = bytes(range(256)) * 20000
    assert HERE.run("cat", stdin=data, timeout=30).stdout == data


def test_a_command_that_reads_nothing_is_no_error() -> None:
    assert HERE.run("true", stdin=bytes(1 << 20), timeout=10).exit_code == 0


def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    before = time.monotonic()
    with pytest.raises(TransportError, match=r"here: a command did not end within 0\.2 s") as caught:
        HERE.run("sleep 60 | cat", timeout=0.2)
    assert caught.value.kind == "failed"
    assert time.monotonic() - before < 30
