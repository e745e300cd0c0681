"""What facts.sh, and the agent behind it, print on a host: facts, or one sentence why not."""

from __future__ import annotations

from fleet.delivery.facts import Facts, parse
from fleet.transport.base import Completed
from tests.fuzz.reader import Reader, check_sentence
from tests.fuzz.targets.report import TOKENS as REPORT_TOKENS
from tests.fuzz.targets.report import examine, show

TOKENS = (
    *REPORT_TOKENS,
    b"fleet-facts 1\n",
    b"end\n",
    b"machine x86_64\n",
    b"python /usr/bin/python3\n",
    b"python-version 3.11.2\n",
    b"python-kind cpython 64\n",
    b"libc glibc 2.36\n",
    b"boot systemd\n",
    b"clock 1700000000\n",
    b"release " + b"ab" * 32 + b"\n",
    b'report {"ok": true, "report": ',
    b"old-python 3.6.8\n",
    b"free-opt 1024\n",
)


def check(data: bytes) -> None:
    """What came on standard error, then what came on standard output."""
    reader = Reader(data)
    complaints = reader.piece()
    output = data[2 + len(complaints) :]
    try:
        facts = parse(Completed(0, output, complaints.decode(errors="replace")))
    except ValueError as error:
        check_sentence(error)
        return
    _examine(facts)


def _examine(facts: Facts) -> None:
    assert facts.machine.isascii()
    assert facts.clock >= 0
    if facts.python is not None:
        assert facts.python.path.startswith("/")
        assert not set(facts.python.path) & set("'\"\\ \n$`")
    if facts.agent_error is not None:
        assert facts.report is None
    show(facts.report, facts.agent_error)
    if facts.report is not None:
        assert facts.release is not None
        examine(facts.report)
