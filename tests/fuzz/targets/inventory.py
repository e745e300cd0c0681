"""An inventory file, whatever it is: findings with a place and words, never a traceback."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from fleet.errors import Finding
from fleet.intent import examine

TOKENS = (
    b"all:\n",
    b"  hosts:\n",
    b"  children:\n",
    b"  vars:\n",
    b"    fleet:\n",
    b"      name: acme\n",
    b"      pools: [10.0.0.0/8]\n",
    b"      links:\n",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!vault |",
    b"!unsafe ",
    b"{{ x }}",
    b"[1:3]",
    b"2026-13-01",
    b"1:30",
    b"0x10",
    b".inf",
    b"\xc2\x85",
    b"- ",
    b"? ",
)
_FOLDER = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def check(data: bytes) -> None:
    """The bytes of the file."""
    file = _FOLDER / "inventory.yml"
    file.write_bytes(data)
    reading = examine(file)
    assert reading.findings or reading.inventory is not None
    last = data.decode(errors="replace").count("\n") + 2  # the parser ends a last line that nothing ends
    for finding in reading.findings:
        assert isinstance(finding, Finding)
        assert finding.message
        assert finding.where.file == file
        assert finding.where.column >= 1
        assert 1 <= finding.where.line <= last + _other_breaks(data)
        str(finding).encode()


def _other_breaks(data: bytes) -> int:
    """YAML 1.1 has line breaks that Python's files do not."""
    text = data.decode(errors="replace")
    return sum(text.count(mark) for mark in ("\r", "\x85", "\u2028", "\u2029"))
