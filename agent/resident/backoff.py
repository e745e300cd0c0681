"""How long to wait before starting again what ended. Pure: the caller brings the time.

Called by keeper (tunnels, failed changes) and supervise (the agent itself).
"""

from __future__ import annotations

from typing import Optional


class Backoff:
    """Ends within `calm` seconds of a start wait ever longer, up to the last of `delays` (in seconds)."""

    def __init__(self, delays: tuple[float, ...], calm: float) -> None:
        self._delays = delays
        self._calm = calm
        self._ends = 0
        self._started: Optional[float] = None

    def ended(self, now: float) -> float:
        """The seconds to wait from `now` on."""
        if self._started is not None and now - self._started > self._calm:
            self._ends = 0
        delay = self._delays[min(self._ends, len(self._delays) - 1)]
        self._ends += 1
        self._started = now + delay
        return delay
