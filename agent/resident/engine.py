"""What the agent does for one fleet: takes bundles, makes the host what its bundle says, says what it is.

Job: the order of things (kept before carried out, additive before subtractive, read again before
answered). Refuses to know sockets, processes, when to do what, and how there come to be several of it.
Called by member.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Callable, Optional, Protocol

from agent import report as reports
from agent.bundle import Bundle
from agent.converge import converge
from agent.host.errors import HostError, SilentError
from agent.netns import Place
from agent.operations import AddInterface, Operation, SetDevice, SetPeer, Step
from agent.report import Change, Observed, Report
from agent.resident import health, learned, neighbours, probe, upkeep
from agent.resident.admission import admit
from agent.resident.aftermath import rests_on, stands_alone
from agent.resident.health import PeerKey, Track
from agent.resident.store import Contents, Store, StoreError, finished_contents, next_contents
from agent.secret import Secrets

MOST_PROBLEMS = 20


class HostLike(Protocol):
    """What the engine needs of agent.host.host.Host. All raise HostError, a sentence for people."""

    def observe(self, bundle: Optional[Bundle], secrets: Secrets, made: Iterable[Place]) -> Observed:
        """The host as it is; `made` are interfaces that were made once, besides those of `bundle`."""

    def execute(self, step: Step, secrets: Secrets) -> None:
        """Makes one change."""

    def fitting(self, bundle: Bundle, observed: Observed) -> Mapping[str, int]:
        """The MTUs that fit now, by the interfaces that leave theirs to the host."""

    def look_up(self, endpoint: str) -> Optional[str]:
        """The address that `endpoint` has now, with its port; None: not known yet, ask again soon."""


@dataclass(frozen=True)
class Clocks:
    """Seconds of the monotonic and of the wall clock."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]


@dataclass(frozen=True)
class Converged:
    """What converging did. `complete`: everything that had to be done worked.

    `shaken`: to some peers our device, or the way to them, is not what it was. `revived`: interfaces whose
    tunnel process hung and was replaced.
    """

    changes: tuple[Change, ...]
    complete: bool
    shaken: bool = False
    revived: tuple[str, ...] = ()


class Engine:
    """One fleet on one host, without its surroundings.

    `others` has what is kept of the host's other fleets, by their ids. `alive` is called between changes,
    which may take seconds each; once `stopping` says so no further change is begun. `restarts` and the
    sentences of `notes` are shown in reports.
    """

    def __init__(
        self,
        host: HostLike,
        store: Store,
        clocks: Clocks,
        log: Callable[..., None],
        *,
        release: str,
        restarts: dict[str, int],
        notes: Callable[[], tuple[str, ...]] = lambda: (),
        others: Callable[[], Mapping[str, Contents]] = dict,
        alive: Callable[[], None] = lambda: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._host = host
        self._store = store
        self._clocks = clocks
        self._log = log
        self._release = release
        self._restarts = restarts
        self._notes = notes
        self._others = others
        self._alive = alive
        self._stopping = stopping
        self._contents = Contents()
        self._retired = Secrets()
        self._tracks: dict[PeerKey, Track] = {}
        self._learned: learned.Endpoints = {}
        self._shaken: dict[PeerKey, int] = {}
        """Peers not heard since a change that concerns them, and what they had sent us before, in bytes."""
        self._seen: dict[PeerKey, upkeep.Seen] = {}
        self._asking: dict[PeerKey, str] = {}
        """Endpoints whose address is being asked for, by their peers."""
        self._problems: tuple[str, ...] = ()
        self._store_problem: Optional[str] = None
        self.tunnels: frozenset[str] = frozenset()
        """Interfaces that lived by a process when they were last seen."""

    @property
    def contents(self) -> Contents:
        """What is kept."""
        return self._contents

    @property
    def bundle(self) -> Optional[Bundle]:
        return self._contents.bundle

    @property
    def secrets(self) -> Secrets:
        return self._contents.secrets

    def load(self) -> None:
        """Remembers what was kept; what cannot be read becomes a problem of the report."""
        self._learned = self._store.load_endpoints()
        try:
            self._contents = self._store.load()
        except StoreError as error:
            self._store_problem = str(error)
            self._log(str(error))

    @property
    def left(self) -> bool:
        """Whether the host is in this fleet no more, and nothing of it is left."""
        held = self._contents
        if held.bundle is None or not held.finished:
            return False
        return not (held.bundle.interfaces or held.bundle.forwarding or held.interfaces)

    def take(self, wanted: Bundle, given: Secrets, replace_fleet: bool) -> None:
        """Keeps a bundle that a client sent; the host is as before. Raises RefusedError, StoreError."""
        held = self._contents
        neighbours.check_beside(wanted, None if self._store_problem else held, self._others())
        kept = admit(wanted, given, held.bundle, held.secrets, replace_fleet)
        if wanted == held.bundle and kept == held.secrets:
            return
        contents = next_contents(held, wanted, kept)
        self._store.save(contents)
        self._retired = held.secrets
        self._contents = contents
        self._store_problem = None
        self._log(f"took revision {wanted.revision} of fleet {wanted.fleet_name} for {wanted.host}")

    def converge(self, why: str) -> Converged:
        """Makes the host what its bundle says; failures become problems of the report, never exceptions."""
        bundle = self._contents.bundle
        if bundle is None:
            return Converged((), True)
        try:
            observed = self.observe()
        except HostError as error:
            self._problems = (str(error),)
            self._log(f"cannot converge ({why}): {error}")
            return Converged((), False)
        steps = converge(bundle, observed, self._contents.baseline)
        done, problems = self._execute(steps, why)
        if problems:
            done += self._remove(bundle, why)
        fitted, unfit = self._fit(bundle, None if done else observed, why)
        done, problems = done + fitted, problems + unfit
        self._problems = tuple(dict.fromkeys(problems))[:MOST_PROBLEMS]
        complete = not problems and not self._stopping()
        if complete:
            self._finish()
        shaken = _shaken(bundle, done)
        before = health.peers_of(observed)
        self._shaken.update({key: before[key].rx_bytes if key in before else 0 for key in shaken})
        made = {step.operation.interface for step in done if isinstance(step.operation, AddInterface)}
        revived = tuple(name for name in _silent(observed) if name in made)
        return Converged(tuple(step.change for step in done), complete, bool(shaken), revived)

    def report(self, observed: Optional[Observed] = None) -> Report:
        """The host as it is now, or as it was `observed` a moment ago. Raises HostError."""
        contents = self._contents
        bundle = contents.bundle
        observed = observed or self.observe()
        now, wall = self._clocks.monotonic(), self._clocks.wall()
        self._tracks = health.follow_all(self._tracks, observed, now, wall)
        pending: tuple[Change, ...] = ()
        links: tuple[reports.Link, ...] = ()
        if bundle is not None:
            pending = tuple(step.change for step in converge(bundle, observed, contents.baseline))
            links = health.links(bundle, observed, self._tracks, now, wall)
        stored = () if self._store_problem is None else (self._store_problem,)
        silent = tuple(str(SilentError(name)) for name in _silent(observed))
        return Report(
            version=reports.VERSION,
            release=self._release,
            host=None if bundle is None else bundle.host,
            fleet=None if bundle is None else bundle.fleet,
            fleet_name=None if bundle is None else bundle.fleet_name,
            revision=None if bundle is None else bundle.revision,
            digest=None if bundle is None else bundle.digest(),
            secrets=tuple(sorted(contents.secrets)),
            observed=observed,
            pending=pending,
            links=links,
            problems=tuple(dict.fromkeys(stored + self._problems + silent + self._notes())),
            restarts=dict(self._restarts),
            time=wall,
            others=tuple(neighbours.told(*other) for other in self._others().items()),
        )

    def call(self) -> frozenset[PeerKey]:
        """Calls the peers without a session, and those not heard since a change that concerns them.

        Returns the ones to wait for. Raises HostError.
        """
        bundle = self._contents.bundle
        if bundle is None:
            return frozenset()
        observed = self.observe()
        lacking = learned.lacking(self._learned, bundle, observed)
        for step in lacking:
            self._host.execute(step, self._contents.secrets)
        if lacking:
            observed = self.observe()
        now, wall = self._clocks.monotonic(), self._clocks.wall()
        self._tracks = health.follow_all(self._tracks, observed, now, wall)
        called = probe.send(probe.calls(bundle, observed, wall, self._shaken))
        for key in called:
            self._tracks[key] = health.call(self._tracks[key], now)
        return frozenset(called)

    def unanswered(self, called: frozenset[PeerKey]) -> frozenset[PeerKey]:
        """Those of `called` that there is no session with still, or no word from. Raises HostError."""
        if not called:
            return frozenset()
        peers = health.peers_of(self.observe())
        wall = self._clocks.wall()
        return frozenset(
            key
            for key in called
            if key in peers and (key in self._shaken or not health.is_fresh(peers[key], wall))
        )

    def keep_up(self, observed: Optional[Observed] = None) -> bool:
        """Does what follows from changes around the host; whether answers of name servers are awaited.

        `observed`: as in `report`. Raises HostError.
        """
        bundle = self._contents.bundle
        if bundle is None:
            return False
        observed = observed or self.observe()
        now, wall = self._clocks.monotonic(), self._clocks.wall()
        self._seen, wanted = upkeep.unheard(self._seen, bundle, observed, now, wall)
        self._asking.update(wanted)
        moved = tuple(upkeep.moved(bundle, observed, self._answers(), wall))
        self._fit(bundle, observed, "the way to its peers changed")
        done, _ = self._execute(moved, "called in vain")
        if done:
            self.call()
        return bool(self._asking)

    def _answers(self) -> dict[PeerKey, str]:
        """What the name servers answered by now; who has no address stays where it is."""
        found: dict[PeerKey, str] = {}
        for key, endpoint in list(self._asking.items()):
            address: Optional[str] = ""
            with contextlib.suppress(HostError):
                address = self._host.look_up(endpoint)
            if address is not None:
                del self._asking[key]
            if address:
                found[key] = address
        return found

    def _fit(self, bundle: Bundle, observed: Optional[Observed], why: str) -> tuple[list[Step], list[str]]:
        """MTUs that are left to the host; once the peers are there, the ways to them tell what fits.

        `observed`: None where that is not how it is any more. Returns what was done, and what failed.
        """
        if all(interface.mtu is not None for interface in bundle.interfaces):
            return [], []
        try:
            observed = observed or self.observe()
            fitting = self._host.fitting(bundle, observed)
        except HostError as error:
            self._log(f"no MTU can be found ({why}): {error}")
            return [], [str(error)]
        return self._execute(upkeep.fitted(observed, fitting), why)

    def observe(self) -> Observed:
        """This fleet's part of the host, as it is now. Raises HostError."""
        contents = self._contents
        secrets = contents.secrets
        if self._retired:
            secrets = Secrets([*self._retired.items(), *secrets.items()])
        observed = self._host.observe(contents.bundle, secrets, contents.interfaces)
        observed = neighbours.own_part(observed, contents, self._others().values())
        self._learn(observed)
        peers = health.peers_of(observed)
        self._shaken = {
            key: heard for key, heard in self._shaken.items() if key in peers and peers[key].rx_bytes == heard
        }
        seen = {interface.name: interface.backend for interface in observed.interfaces}
        alive = frozenset(name for name, backend in seen.items() if backend == "userspace")
        self.tunnels = alive | (self.tunnels - set(seen))
        return observed

    def _learn(self, observed: Observed) -> None:
        """Keeps learned endpoints over a reboot; where that fails, peers are called later and no worse."""
        bundle = self._contents.bundle
        found = {} if bundle is None else learned.follow(self._learned, bundle, observed)
        if found != self._learned:
            self._learned = found
            with contextlib.suppress(StoreError):
                self._store.save_endpoints(found)

    def _execute(self, steps: Iterable[Step], why: str) -> tuple[list[Step], list[str]]:
        """Carries out `steps`; after a failure nothing is removed any more, for it may be all there is.

        Of an interface that could not be made, or hangs, nothing else is tried: one sentence says it all.
        Nor is anything led into a full tunnel of which something is missing.
        """
        done: list[Step] = []
        problems: list[str] = []
        unmade: set[str] = set()
        failed: list[Operation] = []
        for step in steps:
            self._alive()
            if self._stopping() or (problems and step.change.action == "remove"):
                continue
            if getattr(step.operation, "interface", None) in unmade or rests_on(step.operation, failed):
                continue
            try:
                self._host.execute(step, self._contents.secrets)
            except HostError as error:
                problems.append(str(error))
                failed.append(step.operation)
                self._log(f"failed: {error}", step)
                if isinstance(step.operation, AddInterface) or isinstance(error, SilentError):
                    unmade.add(getattr(step.operation, "interface", ""))
            else:
                done.append(step)
                self._log(f"{step.change.action} {step.change.layer} {step.change.item} ({why})", step)
        return done, problems

    def _remove(self, bundle: Bundle, why: str) -> list[Step]:
        """What can be removed although something failed: all, if only what nothing else rests on is missing.

        A name that does not resolve, or a missing nftables, must not keep peers alive that left the fleet.
        """
        try:
            steps = converge(bundle, self.observe(), self._contents.baseline)
        except HostError:
            return []
        removals = [step for step in steps if step.change.action == "remove"]
        if any(step not in removals and not stands_alone(step.operation) for step in steps):
            return []
        return self._execute(removals, why)[0]

    def _finish(self) -> None:
        self._retired = Secrets()
        finished = finished_contents(self._contents)
        if finished == self._contents:
            return
        try:
            self._store.save(finished)
        except StoreError as error:
            self._log(f"{error} (it is only done again at the next start)")
        self._contents = finished


def _shaken(bundle: Bundle, done: Iterable[Step]) -> frozenset[PeerKey]:
    """The peers of a device that is new, or answers elsewhere or as somebody else; those called elsewhere."""
    found: set[PeerKey] = set()
    peers = {interface.name: interface.peers for interface in bundle.interfaces}
    for operation in (step.operation for step in done):
        if isinstance(operation, (AddInterface, SetDevice)):
            name = operation.interface
            found |= {(name, peer.public_key) for peer in peers.get(name, ())}
        elif isinstance(operation, SetPeer) and operation.endpoint is not None:
            found.add((operation.interface, operation.public_key))
    return frozenset(found)


def _silent(observed: Observed) -> tuple[str, ...]:
    """The interfaces whose tunnel process does not answer."""
    return tuple(interface.name for interface in observed.interfaces if not interface.answers)
