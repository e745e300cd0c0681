"""What the benchmark ran on and what ran: processor, kernel, versions.

Refuses to measure. Called by `python -m tests.bench`.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from tests.lab.tunnels import Program

_ROOT = Path(__file__).parents[2]
_LOOK = 0.3


def machine() -> dict[str, object]:
    """All but how busy it is."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": found[1] if found else platform.machine(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in ("cryptography", "PyNaCl")},
        "iperf3": _first_line("iperf3", "--version"),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def busy() -> float:
    """What others use of all processors, from 0 to 1, looked at for _LOOK seconds: we only wait meanwhile."""
    begin, idle = _ticks()
    time.sleep(_LOOK)
    end, idle_then = _ticks()
    return 1 - (idle_then - idle) / max(1, end - begin)


def _ticks() -> tuple[int, int]:
    """Of all processors since the start, and those without work (proc(5): idle and iowait)."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]


def described(program: Program) -> dict[str, object]:
    """What `compare` saves of a program that is not ours."""
    return _described(program, _first_line(program.command[0], "--version"))


def described_ours(program: Program) -> dict[str, object]:
    """Our version is the commit, `-dirty` where files differ from it."""
    told = _first_line("git", "-C", str(_ROOT), "describe", "--always", "--dirty")
    return _described(program, told)


def _described(program: Program, told: str) -> dict[str, object]:
    return {
        "name": program.name,
        "command": list(program.command),
        "environment": dict(program.environment),
        "version": told,
    }


def _first_line(*command: str) -> str:
    """`unknown` where a command does not say; nothing depends on it."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    said = (done.stdout or done.stderr).strip().splitlines()
    return said[0] if said and done.returncode == 0 else "unknown"
