"""One run: two devices of one kind in two namespaces, and what goes through them.

Job: set up, measure, take away. Refuses to compare. Called by `python -m tests.bench`.
"""

from __future__ import annotations

import json
import os
import re
import statistics
from pathlib import Path

from tests.lab.namespaces import wait_until, wired_pair
from tests.lab.tunnels import Kind, Tunnel, introduce, ping, start

PINGS = 200
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(kind: Kind, seconds: int) -> dict[str, float]:
    """What one pair of devices does: a figure for each name in `compare.FIGURES`."""
    with wired_pair("bench") as (left, right):
        here, there = start(left, kind), start(right, kind)
        introduce(here, there)
        if ping(here, there.inner4) == 0:
            raise RuntimeError(f"two {kind} do not reach each other")
        there.space.start("iperf3", "--server", "--bind", there.inner4)
        wait_until(lambda: "5201" in there.space.output("ss", "-lntH"), "iperf3 listens")
        figures = {"ping_ms": _ping(here, there)}
        before = cpu(here) + cpu(there)
        sent, figures["tcp_mbits"] = _iperf(here, there, seconds)
        figures["cpu_seconds_per_gbyte"] = (cpu(here) + cpu(there) - before) / (sent / 1e9)
        _, figures["tcp_reverse_mbits"] = _iperf(here, there, seconds, "--reverse")
        _, figures["tcp_8_streams_mbits"] = _iperf(here, there, seconds, "--parallel", "8")
        figures["memory_mbytes"] = max(memory(here), memory(there))
        return figures


def _ping(here: Tunnel, there: Tunnel) -> float:
    """The median round trip on an idle tunnel, in milliseconds."""
    output = here.space.output("ping", "-c", str(PINGS), "-i", "0.01", there.inner4)
    return statistics.median(float(time) for time in re.findall(r"time=([0-9.]+) ms", output))


def _iperf(here: Tunnel, there: Tunnel, seconds: int, *extra: str) -> tuple[float, float]:
    """Bytes that arrived, and Mbit/s."""
    command = ("iperf3", "--json", "--time", str(seconds), "--client", there.inner4, *extra)
    done = here.space.run(*command, timeout=seconds + 30)
    arrived = json.loads(done.stdout)["end"]["sum_received"]
    return float(arrived["bytes"]), float(arrived["bits_per_second"]) / 1e6


def cpu(tunnel: Tunnel) -> float:
    """Seconds of processor time that the process has used, proc(5)."""
    stat = Path(f"/proc/{tunnel.process.pid}/stat").read_text()
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


def memory(tunnel: Tunnel, which: str = "VmHWM") -> float:
    """Megabytes resident at most so far; now, with VmRSS (proc(5))."""
    status = Path(f"/proc/{tunnel.process.pid}/status").read_text()
    found = re.search(rf"{which}:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1e3
