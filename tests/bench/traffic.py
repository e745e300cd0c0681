"""Traffic through a pair of devices: TCP, UDP and pings.

Job: measure one run. Refuses to compare. Called by `python -m tests.bench`.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figures import UDP_SIZES
from tests.bench.pair import client, listen, pair
from tests.bench.process import cpu, memory
from tests.lab.tunnels import Program, Tunnel

_RISE = 1
"""Seconds that a load runs before what goes on beside it is measured."""
_LONGER = 30
"""Seconds that it would run longer if nobody ended it."""
_PING_INTERVAL = 0.01
_UDP_HEADERS = 40 + 8
"""Bytes of IPv6's and UDP's (RFC 8200, RFC 768)."""


def tcp(program: Program, seconds: int, congestion: str) -> dict[str, float]:
    """One stream and eight, both ways; what one stream costs, both ways together."""
    with pair(program) as (here, there):
        used = cpu(here) + cpu(there)
        forth, mbits = _stream(here, there, seconds, congestion)
        back, reverse_mbits = _stream(here, there, seconds, congestion, "--reverse")
        used = cpu(here) + cpu(there) - used
        return {
            "tcp_1_mbits": mbits,
            "tcp_1_reverse_mbits": reverse_mbits,
            "tcp_8_mbits": _stream(here, there, seconds, congestion, "--parallel", "8")[1],
            "tcp_8_reverse_mbits": _stream(here, there, seconds, congestion, "--parallel", "8", "--reverse")[
                1
            ],
            "cpu_seconds_per_gbyte": used / ((forth + back) / 1e9),
            "memory_peak_mbytes": max(memory(here), memory(there)),
        }


def _stream(here: Tunnel, there: Tunnel, seconds: int, congestion: str, *extra: str) -> tuple[float, float]:
    """Bytes that arrived, and Mbit/s."""
    done = here.space.run(
        *client(there.inner4, listen(there), seconds, "--congestion", congestion, *extra),
        timeout=seconds + 30,
    )
    arrived = json.loads(done.stdout)["end"]["sum_received"]
    return float(arrived["bytes"]), float(arrived["bits_per_second"]) / 1e6


def udp(program: Program, seconds: int) -> dict[str, float]:
    """Packets a second that arrive, and how many iperf3 sent meanwhile, as fast as it can.

    Both as the kernels of both hosts count them while the flood goes on: neither its beginning, nor what
    still waits at its end, nor what iperf3 itself is too slow to receive says anything of the tunnel. The
    inner packets are IPv6, the outer ones IPv4, which are counted apart.
    """
    figures = {}
    with pair(program) as (here, there):
        for size in UDP_SIZES:
            extra = ("--udp", "--bitrate", "0", "--length", str(size - _UDP_HEADERS))
            with _load(here, client(there.inner6, listen(there), seconds + _LONGER, *extra)):
                begin, sent, arrived = time.monotonic(), _sent(here), _arrived(there)
                time.sleep(seconds)
                span = time.monotonic() - begin
                figures[f"udp_{size}_pps"] = (_arrived(there) - arrived) / span
                figures[f"udp_{size}_sent_pps"] = (_sent(here) - sent) / span
    return figures


@contextmanager
def _load(here: Tunnel, command: tuple[str, ...]) -> Iterator[None]:
    """An iperf3 client that runs all the while, which an AssertionError tells if it did not."""
    process = here.space.start(*command)
    time.sleep(_RISE)
    yield
    if process.poll() is not None:
        assert process.stdout is not None
        raise AssertionError(f"iperf3 did not go on: {process.stdout.read()[-500:]}")
    process.terminate()
    process.wait(30)


def _sent(tunnel: Tunnel) -> int:
    return _udp6(tunnel, "OutDatagrams")


def _arrived(tunnel: Tunnel) -> int:
    """Also those that the receiving program had no room for: the tunnel delivered them."""
    return _udp6(tunnel, "InDatagrams") + _udp6(tunnel, "RcvbufErrors")


def _udp6(tunnel: Tunnel, counter: str) -> int:
    """Of the tunnel's host (net/ipv6/proc.c)."""
    text = Path(f"/proc/{tunnel.process.pid}/net/snmp6").read_text()
    found = re.search(rf"^Udp6{counter}\s+(\d+)", text, re.MULTILINE)
    assert found, f"the kernel does not count Udp6{counter}"
    return int(found[1])


def pings(program: Program, seconds: int, congestion: str) -> dict[str, float]:
    """Round trips on an idle tunnel and beside one TCP stream."""
    with pair(program) as (here, there):
        count = round(seconds / _PING_INTERVAL)
        idle, _ = _ping(here, there, count)
        command = client(there.inner4, listen(there), seconds + _LONGER, "--congestion", congestion)
        with _load(here, command):
            loaded, lost = _ping(here, there, count)
    return {
        "ping_idle_ms": statistics.median(idle),
        "ping_idle_p99_ms": percentile(idle, 99),
        "ping_loaded_ms": statistics.median(loaded),
        "ping_loaded_p99_ms": percentile(loaded, 99),
        "ping_loaded_lost_percent": lost,
    }


def _ping(here: Tunnel, there: Tunnel, count: int) -> tuple[list[float], float]:
    """Round trips in milliseconds, and how many of a hundred had none."""
    output = here.space.output("ping", "-c", str(count), "-i", str(_PING_INTERVAL), "-W", "2", there.inner4)
    return round_trips(output), 100 * (1 - len(round_trips(output)) / count)


def round_trips(output: str) -> list[float]:
    """Milliseconds of every answer that `ping` prints."""
    return [float(each) for each in re.findall(r"time=([0-9.]+) ms", output)]


def percentile(numbers: list[float], percent: int) -> float:
    """The smallest of `numbers` that at least `percent` of a hundred of them do not exceed."""
    return sorted(numbers)[-(-len(numbers) * percent // 100) - 1]
