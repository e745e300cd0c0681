"""A peer's five timers, named after the events that move them (timers.c; whitepaper 6.2 - 6.5).

Job: when something is to happen. Refuses to know how it is done, and whose timers these are. Called by
handshake, send, receive and expiry; `Schedule` finds the peers whose time has come.
"""

from __future__ import annotations

import heapq
import math
import struct
from collections.abc import Iterator
from typing import Callable, Generic, Optional, TypeVar

from agent.wireguard.constants import (
    ERASE_AFTER_TIME,
    KEEPALIVE_TIMEOUT,
    MAX_JITTER_MS,
    REKEY_TIMEOUT,
)

NEVER = math.inf


class Timers:
    """Deadlines in monotonic seconds; `NEVER` is a timer that is not set.

    `retransmit`: the initiation was not answered. `keepalive`: data came and nothing was sent since.
    `new_handshake`: data was sent and nothing came since. `erase`: the keys are too old to keep.
    `persistent`: the peer has not been heard or spoken to for its persistent keepalive interval.
    """

    __slots__ = (
        "_jitters",
        "attempts",
        "entries",
        "erase",
        "keepalive",
        "needs_another_keepalive",
        "new_handshake",
        "persistent",
        "retransmit",
        "sent_last_minute_handshake",
    )

    def __init__(self, jitters: Iterator[float]) -> None:
        """`jitters`: seconds by which what two might do at once is put off."""
        self._jitters = jitters
        self.entries: list[float] = []
        self.attempts = 0
        self.clear()

    def clear(self) -> None:
        self.retransmit = self.keepalive = self.new_handshake = self.erase = self.persistent = NEVER
        self.needs_another_keepalive = False
        self.sent_last_minute_handshake = False

    def data_sent(self, now: float) -> None:
        if self.new_handshake == NEVER:
            self.new_handshake = now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + next(self._jitters)

    def data_received(self, now: float) -> None:
        if self.keepalive == NEVER:
            self.keepalive = now + KEEPALIVE_TIMEOUT
        else:
            self.needs_another_keepalive = True

    def authenticated_sent(self, now: float, interval: int) -> None:
        """`interval`: the persistent keepalive in seconds, 0 = off."""
        self.keepalive = NEVER
        self.needs_another_keepalive = False
        if interval:
            self.persistent = now + interval

    def authenticated_received(self, now: float, interval: int) -> None:
        """`interval`: the persistent keepalive in seconds, 0 = off."""
        self.new_handshake = NEVER
        if interval:
            self.persistent = now + interval

    def handshake_initiated(self, now: float) -> None:
        self.retransmit = now + REKEY_TIMEOUT + next(self._jitters)

    def call_anew(self, now: float) -> None:
        """As if a retry were due that is the first call."""
        self.attempts = -1
        self.retransmit = now

    def handshake_completed(self) -> None:
        self.retransmit = NEVER
        self.sent_last_minute_handshake = False

    def session_derived(self, now: float) -> None:
        self.erase = now + ERASE_AFTER_TIME

    def gave_up(self, now: float) -> None:
        self.retransmit = self.keepalive = NEVER
        self.needs_another_keepalive = False
        if self.erase == NEVER:
            self.erase = now + ERASE_AFTER_TIME


def jitters(random: Callable[[int], bytes]) -> Iterator[float]:
    """Seconds, without end. Sixteen random bits are even enough for 334 values."""
    while True:
        for (number,) in struct.iter_unpack("<H", random(256)):
            yield number % (MAX_JITTER_MS + 1) / 1000


Owner = TypeVar("Owner")


class Schedule(Generic[Owner]):
    """Whose timers are due. A timer that is put off costs nothing: its old entry is looked at in vain.

    Each `Timers` remembers the times of its own entries, the soonest last: a new entry is made only for
    a time before all of them.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timers, Owner]] = []
        self._made = 0

    def note(self, timers: Timers, owner: Owner) -> None:
        """To be called after each change of `timers`."""
        soonest = min(
            timers.retransmit, timers.keepalive, timers.new_handshake, timers.erase, timers.persistent
        )
        if soonest < (timers.entries[-1] if timers.entries else NEVER):
            timers.entries.append(soonest)
            self._made += 1
            heapq.heappush(self._heap, (soonest, self._made, timers, owner))

    def deadline(self) -> Optional[float]:
        """The time of the soonest entry; None: there is none."""
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> Optional[Owner]:
        """Somebody of whom a timer may be due; call `note` after having looked. None: nobody is left."""
        if not self._heap or self._heap[0][0] > now:
            return None
        _, _, timers, owner = heapq.heappop(self._heap)
        timers.entries.pop()
        return owner
