"""A limit on time for calls that have none of their own: when it is over, something is closed under them.

Called by `ssh`, whose library waits without limit in some places.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType


class Deadline:
    """A context of at most `seconds`; then `abort` runs once, on a thread of its own, and `over` is true."""

    def __init__(self, seconds: float, abort: Callable[[], None]) -> None:
        self.seconds = seconds
        self.over = False
        self._abort = abort
        self._end = time.monotonic() + seconds
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    @property
    def left(self) -> float:
        """Seconds that are left, never less than a few milliseconds."""
        return max(0.005, self._end - time.monotonic())

    def _expire(self) -> None:
        self.over = True
        self._abort()
