"""What a host's agent reports, as the controller reads, compares and shows it."""

from __future__ import annotations

import io
import json
from unittest.mock import patch

from rich.console import Console

from agent import report as reports
from agent.codec import loads
from agent.report import Report
from fleet.rollout.decide import decide
from fleet.rollout.outcome import HostStatus
from fleet.views import status
from tests.agent.samples import bundle
from tests.fuzz.reader import check_sentence

TOKENS = (
    b'"observed":{"interfaces":[',
    b'"peers":[',
    b'"state":"down"',
    b'"latest_handshake":',
    b'"problems":["',
    b'"restarts":{"wg0":',
    b'"pending":[',
    b'"private_key":{"id":"key/1","generation":1}',
    b"1e999",
    b"NaN",
    b"-1",
    b"null",
    b"\\ud800",
    b"\\u001b[2J",
    b"\\u0000",
    b"[/]",
)
_WANTED = bundle()


def check(data: bytes) -> None:
    """A report in JSON."""
    try:
        report = reports.from_json(loads(data))
    except ValueError as error:
        check_sentence(error)
        return
    examine(report)


def examine(report: Report) -> None:
    """Whatever it says, it can be kept, compared with what should be, and shown."""
    text = json.dumps(reports.to_json(report), allow_nan=False)
    assert reports.from_json(json.loads(text)) == report
    work = decide(_WANTED, None, report, "ab" * 32, report.release)
    assert work.deliver or report.digest == _WANTED.digest()
    show(report, None)


def show(report: Report | None, error: str | None) -> None:
    """No escape sequence of a host's reaches the terminal."""
    screen = io.StringIO()
    console = Console(file=screen, highlight=False, soft_wrap=True, width=250)
    shown = [HostStatus("oslo", True, report, error)]
    with patch.object(status, "out", lambda: console), patch.object(status, "warn_userspace"):
        status.show("acme", shown)
    text = screen.getvalue()
    text.encode()
    assert all(character.isprintable() or character == "\n" for character in text), repr(text)
