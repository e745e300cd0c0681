"""What a device with one peer costs while nothing is to be done.

Job: measure one run. Refuses to compare. Called by `python -m tests.bench`.
"""

from __future__ import annotations

import time

from tests.bench.process import cpu, memory, wakeups
from tests.lab.namespaces import wired_pair
from tests.lab.tunnels import Program, introduce, start, wait_for_pings

_SETTLES = 12
"""Seconds after the last packet: a keepalive may be due 10 seconds after it (whitepaper, 6.5)."""


def idle(program: Program, seconds: int) -> dict[str, float]:
    """The busier of both ends, `seconds` long, with a session; after _SETTLES, or `seconds` if fewer."""
    with wired_pair("bench") as (left, right):
        ends = start(left, program), start(right, program)
        introduce(*ends)
        wait_for_pings(ends[0], ends[1].inner4)
        time.sleep(min(_SETTLES, seconds))
        begin, before = time.monotonic(), [(cpu(end), wakeups(end)) for end in ends]
        time.sleep(seconds)
        span, after = time.monotonic() - begin, [(cpu(end), wakeups(end)) for end in ends]
        return {
            "idle_memory_mbytes": max(memory(end, "VmRSS") for end in ends),
            "idle_cpu_percent": 100 * max(b[0] - a[0] for a, b in zip(before, after)) / span,
            "idle_wakeups_per_second": max(b[1] - a[1] for a, b in zip(before, after)) / span,
        }
