"""A token bucket for each source (ratelimiter.c): how much one source may ask for.

Refuses to know what is asked for. Called by handshake (under load) and icmp's caller.
"""

from __future__ import annotations

_SECOND = 10**9
_IDLE = _SECOND
_MAX_SOURCES = 1 << 16


def source_of(ip: bytes) -> bytes:
    """An IPv4 address, or the /64 that an IPv6 address lies in: who has one address there has all."""
    return ip[:8]


class RateLimiter:
    """`rate` a second for each source, `burst` at once. A source that was idle for a second is forgotten."""

    def __init__(self, rate: int, burst: int) -> None:
        self._cost = _SECOND // rate
        self._most = self._cost * burst
        self._sources: dict[bytes, tuple[int, int]] = {}
        self._swept = 0

    def allows(self, source: bytes, now: float) -> bool:
        """Whether one more may pass at `now` (monotonic seconds); it is counted if so."""
        at = round(now * _SECOND)
        if at >= self._swept + _IDLE:
            self._sweep(at)
        entry = self._sources.get(source)
        if entry is None:
            if len(self._sources) >= _MAX_SOURCES:
                return False
            tokens = self._most
        else:
            tokens = min(self._most, entry[0] + at - entry[1])
        allowed = tokens >= self._cost
        self._sources[source] = tokens - self._cost if allowed else tokens, at
        return allowed

    def _sweep(self, at: int) -> None:
        self._swept = at
        for source in [source for source, (_, last) in self._sources.items() if at >= last + _IDLE]:
            del self._sources[source]
