"""One fleet of this host: its engine, and when to turn to it.

Job: join what was seen of interfaces and the time (keeper) to converging and observing (engine). Refuses
to know clients and other fleets. Called by fleets, which holds them, and service, which guards each call:
what fails here concerns one fleet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

from agent.egress import full_tunnels
from agent.log import log
from agent.netns import Place, identity
from agent.operations import SetPeer, Step
from agent.resident.engine import Clocks, Converged, Engine, HostLike
from agent.resident.keeper import Keeper
from agent.resident.store import Contents, Store
from agent.resident.watch import Sighting, indexes

OBSERVE_SECONDS = 30.0
"""How often the host is observed in full: milliseconds of work."""
AWAIT_SECONDS = 2.0
"""The same, while answers of name servers are awaited."""


@dataclass(frozen=True)
class Shared:
    """What the engines of a host share; `alive` and `stopping` are those of Engine."""

    host: HostLike
    clocks: Clocks
    release: str
    alive: Callable[[], None]
    stopping: Callable[[], bool]


class Member:
    """The fleet that is kept in `store`."""

    def __init__(
        self, around: Shared, store: Store, others: Callable[[Member], Mapping[str, Contents]]
    ) -> None:
        self.store = store
        self._clock = around.clocks.monotonic
        self._keeper = Keeper()
        self.engine = Engine(
            around.host,
            store,
            around.clocks,
            self._say,
            release=around.release,
            restarts=self._keeper.restarts,
            notes=lambda: self._keeper.notes(self._clock()),
            others=lambda: others(self),
            alive=around.alive,
            stopping=around.stopping,
        )
        self._next_observe = 0.0
        self._places: tuple[Place, ...] = ()
        self._spaces: dict[str, Optional[tuple[int, int]]] = {}
        """The namespaces that interfaces belong into, as they were when the host was last converged."""

    @property
    def deadline(self) -> float:
        """When `keep` has something to do."""
        due = self._keeper.deadline
        return self._next_observe if due is None else min(due, self._next_observe)

    def expected(self) -> tuple[Place, ...]:
        """The interfaces to keep an eye on."""
        names = self._keeper.expected()
        return tuple(place for place in self._places if place.interface in names)

    def see(self, found: Mapping[str, Optional[Sighting]]) -> None:
        """The expected interfaces as they are now."""
        now = self._clock()
        for netns, before in self._spaces.items():
            present = identity(netns)
            if present != before:
                self._spaces[netns] = present
                if present is not None:
                    log(f"network namespace {netns} is there")
                    self._keeper.appeared(now)
        for name in self._keeper.see(now, found, self.engine.tunnels):
            log(f"{name} is gone; it is made again in {self._keeper.wait(name, now):g} s", interface=name)

    def keep(self) -> None:
        """Observes and converges where that is due."""
        now = self._clock()
        if now >= self._next_observe:
            awaits = False
            try:
                awaits = self._observe(now)
            finally:
                self._next_observe = self._clock() + (AWAIT_SECONDS if awaits else OBSERVE_SECONDS)
        if self._keeper.due(now):
            lost = self._keeper.lost()
            self.restore(f"{' '.join(lost)} was gone" if lost else "again")

    def converge(self, why: str) -> Converged:
        """Makes the host what its bundle says; what could not be done is due again, faults too."""
        bundle = self.engine.bundle
        interfaces = () if bundle is None else bundle.interfaces
        self._places = tuple(Place(interface.name, interface.netns) for interface in interfaces)
        spaces = {place.netns for place in self._places if place.netns is not None}
        self._spaces = {netns: identity(netns) for netns in spaces}
        try:
            done = self.engine.converge(why)
        except Exception:
            self._keeper.converged(self._clock(), False, indexes(self._places))
            raise
        for name in done.revived:
            self._keeper.count(name)
        self._keeper.converged(self._clock(), done.complete, indexes(self._places))
        self._next_observe = 0.0
        return done

    def restore(self, why: str) -> None:
        """Converges without being asked to, and calls the peers that this may have put out of reach."""
        self.call(self.converge(why))

    def call(self, done: Converged) -> None:
        """Calls the peers that converging may have put out of reach."""
        if done.shaken:
            self.engine.call()

    def _observe(self, now: float) -> bool:
        """Follows the links, and finds what the look-ups cannot; whether to do so again before long."""
        observed = self.engine.observe()
        report = self.engine.report(observed)
        bundle = self.engine.bundle
        hangs = any(not interface.answers for interface in observed.interfaces)
        # Nobody could be called to mend it: whoever calls from outside is not answered.
        cut_off = bool(full_tunnels(bundle)) and any(one.layer == "firewall" for one in report.pending)
        if bundle is not None and report.pending and (bundle.self_heal or hangs or cut_off):
            self._keeper.heal(now)
        return not hangs and self.engine.keep_up(observed)

    def _say(self, text: str, step: Optional[Step] = None) -> None:
        """To the log, with what `step` is about."""
        bundle = self.engine.bundle
        name, host = (None, None) if bundle is None else (bundle.fleet_name, bundle.host)
        if step is None:
            log(text, name=name, host=host)
            return
        operation = step.operation
        log(
            text,
            warning=text.startswith("failed"),
            name=name,
            host=host,
            layer=step.change.layer,
            action=step.change.action,
            interface=getattr(operation, "interface", None),
            peer=operation.name if isinstance(operation, SetPeer) else None,
        )
