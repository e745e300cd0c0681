"""The rules of timers and sessions a second time, slow and plain: what was is written down, and each rule
looks through all of it for when it has to act (whitepaper 6.1 - 6.5; timers.c).

Times are ticks, whole numbers; `TICKS` make a second. One peer, which has an endpoint.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

TICKS = 8
NEVER = 1 << 60

Sent = tuple[int, str, Optional[int]]
"""When, what, and the name of the session."""


class Session(NamedTuple):
    name: int
    born: int
    is_ours: bool
    """We called."""


class Rules:
    """What a device has to send. `jitter` is in ticks."""

    def __init__(self, jitter: int) -> None:
        self.jitter = jitter
        self.sent: list[Sent] = []
        self.previous: Optional[Session] = None
        self.current: Optional[Session] = None
        self.next: Optional[Session] = None
        self.pending: Optional[int] = None
        self.interval = 0
        self._initiations = 0
        self._attempts = 0
        self._staged: list[str] = []
        self._log: list[tuple[int, str]] = []

    # The rules: when something is due

    def _retransmit_at(self) -> int:
        since = self._since("completed", "given up")
        calls = [at for at, what in since if what in ("initiation", "call postponed")]
        return calls[-1] + 5 * TICKS + self.jitter if calls else NEVER

    def _keepalive_at(self) -> int:
        since = self._since("sent", "keepalive over", "given up")
        heard = [at for at, what in since if what == "data heard"]
        return heard[0] + 10 * TICKS if heard else NEVER

    def _new_handshake_at(self) -> int:
        since = self._since("heard", "called the dead")
        said = [at for at, what in since if what == "data said"]
        return said[0] + 15 * TICKS + self.jitter if said else NEVER

    def _erase_at(self) -> int:
        since = self._since("erased")
        derived = [at for at, what in since if what == "derived"]
        given_up = [at for at, what in since if what == "given up"]
        if derived:
            return derived[-1] + 540 * TICKS
        return given_up[0] + 540 * TICKS if given_up else NEVER

    def _persistent_at(self) -> int:
        since = self._since("persistent over")
        put_off = [(at, int(what[14:])) for at, what in since if what.startswith("persistent in ")]
        return put_off[-1][0] + put_off[-1][1] * TICKS if put_off else NEVER

    def due(self) -> int:
        return min(
            self._retransmit_at(),
            self._keepalive_at(),
            self._new_handshake_at(),
            self._erase_at(),
            self._persistent_at(),
        )

    def act(self, now: int) -> None:
        """Does what is due, in the order in which ties are broken."""
        if self._retransmit_at() <= now:
            self._retransmit(now)
        if self._keepalive_at() <= now:
            since = self._since("sent", "keepalive over", "given up")
            more = sum(what == "data heard" for _, what in since) > 1
            self._note(now, "keepalive over")
            self._keepalive(now)
            if more:
                self._note(now, "data heard")
        if self._new_handshake_at() <= now:
            self._note(now, "called the dead")
            self._call(now)
        if self._erase_at() <= now:
            self._note(now, "erased")
            self.previous = self.current = self.next = self.pending = None
        if self._persistent_at() <= now:
            self._note(now, "persistent over")
            self._traversed(now)
            if self.interval:
                self._keepalive(now)

    # What happens to the device

    def say(self, now: int) -> None:
        self._send(now, ["data"])

    def set_interval(self, now: int, interval: int) -> None:
        is_new = bool(interval and not self.interval)
        self.interval = interval
        if is_new:
            self._keepalive(now)
            self._traversed(now)

    def hear_answer(self, now: int, name: int, number: int) -> None:
        """The response to the initiation of this number."""
        if number != self.pending:
            return
        self.pending = None
        self._note(now, "heard")
        self.previous = self.next or self.current
        self.current, self.next = Session(name, now, True), None
        self._traversed(now)
        self._note(now, "derived")
        self._note(now, "completed")
        self._keepalive(now)

    def hear_call(self, now: int, name: int) -> None:
        """An initiation later than any before it, and not too soon after it."""
        self._note(now, "heard")
        self.previous, self.next = None, Session(name, now, False)
        self._put(now, "response", name)
        self._note(now, "handshake")
        self._note(now, "derived")

    def hear(self, now: int, name: int, is_data: bool) -> None:
        """Data or a keepalive of that session."""
        sessions = [self.previous, self.current, self.next]
        session = next((one for one in sessions if one is not None and one.name == name), None)
        if session is None or now - session.born >= 180 * TICKS:
            return
        if session is self.next:
            self.previous, self.current, self.next = self.current, self.next, None
            self._note(now, "completed")
            self._send(now, [])
        current = self.current
        has_asked = any(what == "asked to renew" for _, what in self._since("completed"))
        if current and current.is_ours and now - current.born >= 165 * TICKS and not has_asked:
            self._note(now, "asked to renew")
            self._call(now)
        self._note(now, "heard")
        self._traversed(now)
        if is_data:
            self._note(now, "data heard")

    # What follows from it

    def _send(self, now: int, packets: list[str]) -> None:
        packets, self._staged = self._staged + packets, []
        current = self.current
        if not packets:
            return
        if current is None or now - current.born >= 180 * TICKS:
            self._staged = packets[-128:]
            self._call(now)
            return
        for packet in packets:
            self._put(now, packet, current.name)
            if packet == "data":
                self._note(now, "data said")
        if current.is_ours and now - current.born >= 120 * TICKS:
            self._call(now)

    def _keepalive(self, now: int) -> None:
        self._send(now, [] if self._staged else ["keepalive"])

    def _call(self, now: int, is_retry: bool = False) -> None:
        if not is_retry:
            self._attempts = 0
        handshakes = [at for at, what in self._log if what in ("initiation", "handshake")]
        if handshakes and now - handshakes[-1] < 5 * TICKS:
            if self._retransmit_at() == NEVER:
                self._note(now, "call postponed")
            return
        self._initiations += 1
        self.pending = self._initiations
        self._put(now, "initiation", None)
        self._note(now, "initiation")

    def _retransmit(self, now: int) -> None:
        if self._attempts > 18:
            self._staged = []
            self._note(now, "given up")
            return
        self._attempts += 1
        before = self._initiations
        self._call(now, is_retry=True)
        if self._initiations == before:
            self._note(now, "call postponed")

    def _put(self, now: int, what: str, name: Optional[int]) -> None:
        self.sent.append((now, what, name))
        self._note(now, "sent")
        self._traversed(now)

    def _traversed(self, now: int) -> None:
        if self.interval:
            self._note(now, f"persistent in {self.interval}")

    def _note(self, now: int, what: str) -> None:
        self._log.append((now, what))

    def _since(self, *marks: str) -> list[tuple[int, str]]:
        """What was written down after the last of these."""
        for at in range(len(self._log) - 1, -1, -1):
            if self._log[at][1] in marks:
                return self._log[at + 1 :]
        return self._log
