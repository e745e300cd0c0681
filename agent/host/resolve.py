"""Endpoint names to addresses, within a time limit.

Job: ask the system's resolver without waiting for it longer than we can afford. Called by host.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from typing import Any, Callable, Optional

from agent.bundle import split_endpoint
from agent.host.device import SocketAddress

LIMIT = 5.0
"""Seconds for the first name; a resolver that let one wait in vain is given less for the next ones."""
SHORT_LIMIT = 0.5
_MEMORY = 60.0
_LONGEST = 30.0
"""Seconds after which nobody waits for an answer any more."""
_FORGOTTEN = 2 * _LONGEST
"""Seconds after which an answer is too old for whoever comes for it."""
MOST_AT_ONCE = 16
"""Look-ups: who is cut off would ask for all of its peers at the same time."""


class ResolveError(Exception):
    """Why a name has no address, as the end of a sentence."""


class Resolver:
    """Resolves endpoints. `lookup` is socket.getaddrinfo or what stands for it."""

    def __init__(self, lookup: Callable[..., Any] = socket.getaddrinfo, limit: float = LIMIT) -> None:
        self._lookup = lookup
        self._limit = limit
        self._failed_at: Optional[float] = None
        self._asked: dict[str, tuple[queue.Queue[Any], float]] = {}

    def resolve(self, endpoint: str) -> SocketAddress:
        """The address that the host prefers for `host:port`. Raises ResolveError."""
        try:
            answer = self._start(endpoint).get(timeout=self._patience())
        except queue.Empty:
            self._failed_at = time.monotonic()
            raise ResolveError("the name server does not answer") from None
        return _address(answer)

    def look_up(self, endpoint: str) -> Optional[SocketAddress]:
        """As `resolve`, without waiting: None while there is no answer, then it is there once."""
        now = time.monotonic()
        self._asked = {name: one for name, one in self._asked.items() if now - one[1] < _FORGOTTEN}
        asked = self._asked.get(endpoint)
        if asked is None:
            if len(self._asked) >= MOST_AT_ONCE:
                return None
            asked = self._asked[endpoint] = (self._start(endpoint), now)
        answers, since = asked
        try:
            answer = answers.get_nowait()
        except queue.Empty:
            if now - since < _LONGEST:
                return None
            answer = ResolveError("the name server does not answer")
        del self._asked[endpoint]
        return _address(answer)

    def _start(self, endpoint: str) -> queue.Queue[Any]:
        host, port = split_endpoint(endpoint)
        answers: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._ask, args=(host, port, answers), daemon=True).start()
        return answers

    def _ask(self, host: str, port: int, answers: queue.Queue[Any]) -> None:
        try:
            answers.put(self._lookup(host, port, type=socket.SOCK_DGRAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    def _patience(self) -> float:
        if self._failed_at is not None and time.monotonic() - self._failed_at < _MEMORY:
            return min(SHORT_LIMIT, self._limit)
        return self._limit


def _address(answer: Any) -> SocketAddress:
    if isinstance(answer, Exception):
        reason = getattr(answer, "strerror", None) or str(answer)
        raise ResolveError(reason) from answer
    ip, number, *rest = answer[0][4]
    return SocketAddress(ip.partition("%")[0], number, rest[1] if len(rest) > 1 else 0)
