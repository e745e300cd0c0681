"""Two devices of one program, on one wire, that have sent each other some traffic.

Job: set up, warm up, take away. Refuses to measure. Called by the parts of the benchmark.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.namespaces import wait_until, wired_pair
from tests.lab.tunnels import Program, Tunnel, introduce, start, wait_for_pings

_ports = itertools.count(5201)
_WARM_UP = 1
"""Seconds of TCP, so that buffers have grown and code was run before anything is measured."""


@contextmanager
def pair(program: Program) -> Iterator[tuple[Tunnel, Tunnel]]:
    """Both ends, where one has sent to the other."""
    with wired_pair("bench") as (left, right):
        here, there = start(left, program), start(right, program)
        introduce(here, there)
        wait_for_pings(here, there.inner4)
        here.space.run(*client(there.inner4, listen(there), _WARM_UP), timeout=_WARM_UP + 30)
        yield here, there


def listen(tunnel: Tunnel) -> int:
    """Starts an iperf3 server that says nothing, over IPv4 and IPv6; its port.

    Each measurement has one of its own: a server that has not quite ended with a client refuses the next.
    """
    port = next(_ports)
    tunnel.space.start("iperf3", "--server", "--port", str(port), "--interval", "0", "--logfile", "/dev/null")
    wait_until(lambda: f":{port} " in tunnel.space.output("ss", "-lntH"), "iperf3 listens")
    return port


def client(address: str, port: int, seconds: int, *extra: str) -> tuple[str, ...]:
    """The command of an iperf3 client that prints JSON at its end."""
    where = ("--client", address, "--port", str(port))
    return ("iperf3", "--json", "--interval", "0", *where, "--time", str(seconds), *extra)
