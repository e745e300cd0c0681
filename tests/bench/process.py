"""What a tunnel's process uses: processor time, memory, wakeups; proc(5).

Refuses to know what the process does meanwhile. Called by the parts of the benchmark.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.lab.tunnels import Tunnel

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(tunnel: Tunnel) -> float:
    """Seconds of processor time that all its threads have used, in the kernel's steps of 10 ms."""
    stat = Path(f"/proc/{tunnel.process.pid}/stat").read_text()
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


def memory(tunnel: Tunnel, which: str = "VmHWM") -> float:
    """Megabytes resident at most so far; now, with VmRSS."""
    return _status(Path(f"/proc/{tunnel.process.pid}/status"), which) * 1024 / 1e6


def wakeups(tunnel: Tunnel) -> int:
    """How often its threads have gone to sleep, which is as often as they woke."""
    threads = Path(f"/proc/{tunnel.process.pid}/task").glob("*/status")
    return sum(_status(thread, "voluntary_ctxt_switches") for thread in threads)


def _status(file: Path, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+)", file.read_text(), re.MULTILINE)
    assert found, f"{file} has no {field}"
    return int(found[1])
