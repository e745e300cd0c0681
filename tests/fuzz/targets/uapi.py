"""A request on a tunnel's control socket: answered with an errno, carried out line by line up to there."""

from __future__ import annotations

import random
from contextlib import closing

from agent.tunnel.uapi import OPERATIONS, Uapi
from agent.tunnel.udp import UdpSockets
from agent.wireguard.clock import Time
from agent.wireguard.device import Device

TOKENS = (
    b"set=1\n",
    b"get=1\n",
    b"private_key=",
    b"listen_port=",
    b"fwmark=",
    b"replace_peers=true\n",
    b"public_key=",
    b"remove=true\n",
    b"update_only=true\n",
    b"preshared_key=",
    b"endpoint=",
    b"persistent_keepalive_interval=",
    b"replace_allowed_ips=true\n",
    b"allowed_ip=",
    b"allowed_ip=-",
    b"protocol_version=1\n",
    b"00" * 32,
    b"a7" * 32,
    b"[::1]:",
    b"%lo",
    b"::ffff:",
    b"/24\n",
)
_NOW = Time(1000.0, 1_700_000_000 * 10**9)
_UP = Time(1000.0, 1_700_000_000 * 10**9)
_MOST_LINES = 40


class _Tunnel:
    def __init__(self, sockets: UdpSockets) -> None:
        self.device = Device(random.Random(1).randbytes)
        self.device.up(_UP)
        self.uapi = Uapi(self.device, sockets, lambda: _NOW)

    def ask(self, request: str) -> str:
        reply = self.uapi.serve(request)
        while True:
            try:
                next(reply)
            except StopIteration as done:
                answer: str = done.value
                return answer

    def errno(self, lines: list[str]) -> int:
        answer = self.ask("\n".join(["set=1", *lines]))
        assert answer.startswith("errno=")
        assert answer.endswith("\n\n")
        number = int(answer[6:-2])
        assert f"errno={number}\n\n" == answer
        assert number <= 0
        return number


def check(data: bytes) -> None:
    """A whole request, as control hands it over: Latin-1, and no empty line in it."""
    lines = [line for line in data.decode("latin-1").split("\n") if line]
    if not lines or lines[0] not in OPERATIONS:
        return
    lines = lines[1 : 1 + _MOST_LINES]
    with closing(UdpSockets()) as first, closing(UdpSockets()) as second:
        whole, again = _Tunnel(first), _Tunnel(second)
        errno = whole.errno(lines)
        shown = whole.ask("get=1")
        assert shown.endswith("\nerrno=0\n\n") or shown == "errno=0\n\n"
        _check_same(again, shown)
    with closing(UdpSockets()) as third:
        _check_prefix(_Tunnel(third), lines, errno, shown)


def _check_same(again: _Tunnel, shown: str) -> None:
    """What is shown sets another device to the same."""
    volatile = ("last_handshake_time", "tx_bytes", "rx_bytes", "errno")
    settable = [line for line in shown.splitlines() if line and not line.startswith(volatile)]
    assert again.errno(settable) == 0
    assert _without_counters(again.ask("get=1")) == _without_counters(shown)


def _check_prefix(other: _Tunnel, lines: list[str], errno: int, shown: str) -> None:
    """A failing line changes nothing, and those before it are as good as a request of their own."""
    good = len(lines)
    if errno:
        with closing(UdpSockets()) as sockets:
            good = next(n for n in range(len(lines)) if _Tunnel(sockets).errno(lines[: n + 1]))
    assert other.errno(lines[:good]) == 0
    assert _without_counters(other.ask("get=1")) == _without_counters(shown)


def _without_counters(shown: str) -> list[str]:
    return [line for line in shown.splitlines() if not line.startswith(("tx_bytes", "rx_bytes"))]
