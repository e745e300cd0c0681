"""The two clocks that the protocol reads, as a value: whoever calls looks at them once a turn."""

from __future__ import annotations

from typing import NamedTuple


class Time(NamedTuple):
    """`monotonic` in seconds (never steps back), `wall` in nanoseconds since 1970 (UTC)."""

    monotonic: float
    wall: int
