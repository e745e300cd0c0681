"""Ctrl-C while hosts are being written to: what runs is finished, nothing more is begun.

Called by `fleet.cli.apply` around the writing alone; a second Ctrl-C ends the command at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class Interrupt:
    """A context; `asked` is true from the first SIGINT on, when `told` is called, once."""

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told
        self._event = threading.Event()
        self._before: signal.Handlers | int | Callable[[int, FrameType | None], object] | None = None

    @property
    def asked(self) -> bool:
        """Whether to begin nothing more."""
        return self._event.is_set()

    def __enter__(self) -> Interrupt:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self._event.set()
        self._told()
