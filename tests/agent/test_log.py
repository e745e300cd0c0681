"""Lines and fields of the log."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest

from agent import log as module
from agent.log import entry, log


def test_elsewhere_a_line_has_the_time_and_no_fields(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    log("two\nlines", interface="wg0")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ two lines\n", capsys.readouterr().err)


def test_a_pipe_of_somebody_else_gets_the_line_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    log("line", interface="wg0")
    assert capsys.readouterr().err == "line\n"


def test_the_journal_gets_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        (tmp_path / "stderr").open("w+") as stderr,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal,
    ):
        journal.bind(str(tmp_path / "journal"))
        found = os.fstat(stderr.fileno())
        monkeypatch.setattr(module, "_JOURNAL", str(tmp_path / "journal"))
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        monkeypatch.setattr(sys, "stderr", stderr)
        log("it is so", warning=True, interface="wg0", host=None)
        lines = journal.recv(4096).decode().splitlines()
        assert lines == [
            "MESSAGE=it is so",
            "PRIORITY=4",
            "SYSLOG_IDENTIFIER=fleet-agent",
            "FLEET_INTERFACE=wg0",
        ]
        journal.close()
        log("nobody reads")
        stderr.seek(0)
        assert stderr.read() == "nobody reads\n"


def test_a_value_cannot_make_fields_of_its_own() -> None:
    assert entry("a\nPRIORITY=0", 6, {"peer": "x\nMESSAGE=y"}).decode().splitlines() == [
        "MESSAGE=a PRIORITY=0",
        "PRIORITY=6",
        "SYSLOG_IDENTIFIER=fleet-agent",
        "FLEET_PEER=x MESSAGE=y",
    ]
