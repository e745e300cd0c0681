"""How much a turn of the loop takes up: pipes are its file descriptors, and a device counts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from agent.tunnel.link import Link
from agent.tunnel.loop import BATCH, Loop
from agent.tunnel.tun import DeviceGoneError
from agent.tunnel.udp import UdpSockets
from agent.wireguard.clock import Time


class Pipe:
    """Readable or not, as it is told. Stands for whatever the loop only waits for and asks for nothing."""

    is_watched, is_deaf = True, False

    def __init__(self) -> None:
        self.fd, self._writable = os.pipe2(os.O_NONBLOCK)

    def fileno(self) -> int:
        return self.fd

    def fill(self) -> None:
        os.write(self._writable, b"x")

    def drain(self) -> None:
        os.read(self.fd, 64)

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._writable)

    def now(self) -> Link:
        return Link(True, 1420, 1)

    def is_present(self) -> bool:
        return True

    def step(self) -> bool:
        return False


class Busy(Pipe):
    """A TUN with packets without end, but for a pause after `rests_after` turns; gone after `ends_after`."""

    def __init__(self, rests_after: int, ends_after: int) -> None:
        super().__init__()
        self.limits: list[int] = []
        self._rests_after, self._ends_after = rests_after, ends_after

    def read(self, limit: int) -> list[bytes]:
        if len(self.limits) == self._ends_after:
            raise DeviceGoneError
        self.limits.append(limit)
        if len(self.limits) == self._rests_after:
            self.drain()
        return [b""] * limit


class Counting:
    """A device that counts, and wakes the TUN after a turn in which nothing else happened."""

    is_up = True

    def __init__(self, tun: Busy) -> None:
        self._tun = tun
        self._seen = 0
        self.sent: list[int] = []

    def carry_out_with(self, emit: object, deliver: object) -> None:
        pass

    def send(self, packets: Sequence[bytes], now: Time) -> None:
        self.sent.append(len(packets))

    def deadline(self) -> float:
        return 0.0

    def advance(self, now: Time) -> None:
        if len(self.sent) == self._seen:
            self._tun.fill()
        self._seen = len(self.sent)


def _clock() -> Time:
    return Time(0.0, 0)


def test_turns_grow_with_the_backlog_and_begin_small_again() -> None:
    tun, pipes = Busy(rests_after=6, ends_after=9), [Pipe() for _ in range(4)]
    tun.fill()
    device, (watch, routes, control, stop) = Counting(tun), pipes
    parts: Any = (device, tun, watch, routes, UdpSockets(), control, _clock, stop.fd, print)
    Loop(*parts).run()
    assert tun.limits == device.sent == [1, 4, 16, BATCH, BATCH, BATCH, 1, 4, 16]
    for pipe in (tun, *pipes):
        pipe.close()
