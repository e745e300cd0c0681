"""One device with many peers, each a host of its own, that all send TCP at once.

Job: measure one run. Refuses to compare. Called by `python -m tests.bench`.

Two things that also make shares uneven are kept out. The device must be what all wait for; else the kernel's
scheduler would share the processors among the peers, and that would be measured: it therefore runs at a lower
priority (nice 10) than they do, who always have work ready for it. And every peer has at most _WINDOW on its
way: TCP's own search for a share takes minutes among so many, and differs from run to run. Then whoever waits
longer in the device has less throughput, and what the device drops shows too.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.bench.pair import client, listen
from tests.lab.namespaces import Namespace, star, wait_until
from tests.lab.tunnels import PORT, Program, Tunnel, start

_PREFIX = "bench"
_WINDOW = "32K"
"""As iperf3 asks for it: the kernel doubles the buffer (tcp(7)), so twice as much may be on its way."""
_SPANS = 3
"""Of `seconds` each: shares of so many flows need longer to be seen than one flow's rate."""
_MOST_SETUP = 60


def fairness(program: Program, seconds: int, peers: int, congestion: str) -> dict[str, float]:
    """How far the peer that is farthest from the mean is from it, and what all have together."""
    with star(_PREFIX, peers) as (middle, spokes), ThreadPoolExecutor(os.cpu_count()) as pool:
        device = start(middle, program, None, "nice", "-n", "10")
        around = list(pool.map(lambda space: start(space, program), spokes))
        _introduce(device, around)
        extra = ("--congestion", congestion, "--window", _WINDOW)
        ports = list(pool.map(listen, [device] * peers))
        for peer, port in zip(around, ports):
            peer.space.start(*client(device.inner4, port, 600, *extra))
        everybody = {peer.inner4 for peer in around}
        wait_until(lambda: set(_received(middle)) == everybody, "all peers send", _MOST_SETUP)
        time.sleep(1)
        begin, before = time.monotonic(), _received(middle)
        time.sleep(_SPANS * seconds)
        span, after = time.monotonic() - begin, _received(middle)
        return spread([(after[peer] - before[peer]) * 8 / 1e6 / span for peer in everybody])


def spread(mbits: list[float]) -> dict[str, float]:
    """The figures of this part from each peer's throughput."""
    total = sum(mbits)
    mean = total / len(mbits)
    return {
        "fairness_deviation_percent": 100 * max(abs(each - mean) for each in mbits) / mean,
        "fairness_mbits": total,
    }


def _introduce(device: Tunnel, around: list[Tunnel]) -> None:
    """The peers know where the device is, not the other way round."""
    device.up()
    for number, peer in enumerate(around, 1):
        device.set("peer", peer.public_key, "allowed-ips", f"{peer.inner4}/32")
        endpoint = f"198.18.{number}.1:{PORT}"
        peer.set("peer", device.public_key, "endpoint", endpoint, "allowed-ips", f"{device.inner4}/32")
        peer.up()


def _received(space: Namespace) -> Counter[str]:
    """Bytes that TCP has received from each peer that sends: iperf3's greeting alone is shorter."""
    return received(space.output("ss", "-tinH", "state", "established"))


def received(output: str) -> Counter[str]:
    """Bytes of payload by the other end's address, of what `ss -tinH` prints for IPv4."""
    found: Counter[str] = Counter()
    for address, details in re.findall(r"\s(?:\[::ffff:)?([0-9.]+)\]?:\d+[ \t]*\n([^\n]*)", output):
        amount = re.search(r"bytes_received:(\d+)", details)
        if amount and int(amount[1]) > 10_000:
            found[address] += int(amount[1])
    return found
