"""When the agent must converge, and how often its devices went away. Pure: the caller brings the time.

Job: from what was seen (interface indexes) and what came of converging, say when to converge next.
Refuses to look at the host itself. Called by service.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Optional

from agent.resident.backoff import Backoff

LOST = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds before a device that went away is made again, a difference mended: at once, then less eagerly."""
CALM = 60.0
"""Seconds that a device must have lived for its end to be the first one again; so with differences."""
RETRY = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
"""Seconds before changes that failed are tried again."""


class Keeper:
    """Remembers the devices that should be there and what is due.

    `restarts` counts, by interface, the tunnel processes that ended without being told to, or hung.
    """

    def __init__(self) -> None:
        self.restarts: dict[str, int] = {}
        self._indexes: dict[str, Optional[Hashable]] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._retry = Backoff(RETRY, calm=RETRY[-1] * 2)
        self._differences = Backoff(LOST, CALM)
        self._due: dict[str, float] = {}

    @property
    def deadline(self) -> Optional[float]:
        """When to converge next; None while there is no reason to."""
        return min(self._due.values(), default=None)

    def due(self, now: float) -> bool:
        """Whether it is time to converge."""
        return self.deadline is not None and self.deadline <= now

    def expected(self) -> tuple[str, ...]:
        """The interfaces to keep an eye on."""
        return tuple(self._indexes)

    def converged(self, now: float, complete: bool, indexes: Mapping[str, Optional[Hashable]]) -> None:
        """The host was converged; `indexes` of the bundle's interfaces as they are now, None for none.

        With `complete` everything that had to be done worked; else it is tried again before long.
        """
        self._due.clear()
        if not complete:
            self._due[""] = now + self._retry.ended(now)
        self._indexes = {name: index for name, index in indexes.items() if complete or index is not None}
        for gone in set(self._backoffs) - set(indexes):
            del self._backoffs[gone]

    def see(
        self, now: float, indexes: Mapping[str, Optional[Hashable]], tunnels: Collection[str]
    ) -> list[str]:
        """The expected interfaces that went away, or away and back, since last seen; each is told once.

        `tunnels` are the interfaces that lived by a process.
        """
        lost = []
        for name, before in self._indexes.items():
            index = indexes.get(name)
            if name in self._due or (index == before and index is not None):
                continue
            lost.append(name)
            backoff = self._backoffs.setdefault(name, Backoff(LOST, CALM))
            self._due[name] = now + backoff.ended(now)
            if name in tunnels:
                self.count(name)
        return lost

    def count(self, name: str) -> None:
        """The tunnel process of an interface ended, or had to be ended because it hung."""
        self.restarts[name] = self.restarts.get(name, 0) + 1

    def wait(self, name: str, now: float) -> float:
        """Seconds until a lost interface is made again."""
        return max(0.0, self._due.get(name, now) - now)

    def lost(self) -> tuple[str, ...]:
        """The interfaces that are to be made again."""
        return tuple(name for name in self._due if name)

    def notes(self, now: float) -> tuple[str, ...]:
        """A sentence for each interface that went away so often that it has to wait."""
        return tuple(
            f"{name}: it goes away again and again; it is made again in {self.wait(name, now):.0f} s, "
            "the agent's log may say why"
            for name in self.lost()
            if self.wait(name, now) > 0
        )

    def appeared(self, now: float) -> None:
        """A network namespace that an interface belongs into is there, or is another one than before."""
        self._due[""] = now

    def heal(self, now: float) -> None:
        """Something differs that this host mends by itself; somebody may make it differ again and again."""
        if "" not in self._due:
            self._due[""] = now + self._differences.ended(now)
