"""What is to be done on each host, and whether it can be: from what was reached, before anything is written.

Job: a job or a reason for every host: its release, its wheels (on this machine), its work. Writes to no
host. Called by `fleet.cli.apply`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.bundle import Bundle
from fleet.delivery.facts import Facts
from fleet.delivery.fetch import cache_folder, fetch
from fleet.delivery.manifest import Manifest
from fleet.delivery.newest import others, stays
from fleet.delivery.release import Release, plan
from fleet.delivery.wheels import Wheel
from fleet.errors import FleetError
from fleet.rollout.decide import Work, decide, lacks_release
from fleet.rollout.outcome import Outcome
from fleet.rollout.reach import Reached
from fleet.transport.base import TransportError

_STATE_BYTES = 1 << 20


Wheels = tuple[tuple[Wheel, Path], ...]


class WheelStore:
    """The wheels of releases, had once each however many hosts need them; so are failures."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._cache = cache_folder(os.environ, Path.home())
        self._known: dict[tuple[Wheel, ...], Wheels | FleetError] = {}

    def get(self, release: Release, python: tuple[int, int, int]) -> Wheels:
        """The release's wheels and their paths. Raises FleetError."""
        if release.wheels not in self._known:
            try:
                found = fetch(release.wheels, python, self._cache, self._told)
                self._known[release.wheels] = tuple(found.items())
            except FleetError as error:
                self._known[release.wheels] = error
        known = self._known[release.wheels]
        if isinstance(known, FleetError):
            raise known
        return known


@dataclass(frozen=True)
class Job:
    """One host's work and what it takes; `wheels` are there if the release has to be installed.

    `notes` are sentences for who is asked whether to do it.
    """

    reached: Reached
    work: Work
    bundle: Bundle
    release: Release
    wheels: Wheels = ()
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> Facts:
        """What the host said of itself."""
        assert self.reached.facts is not None
        return self.reached.facts

    @property
    def renames(self) -> bool:
        """Whether the host had another name so far."""
        report = self.facts.report
        return report is not None and report.host not in (None, self.bundle.host)


@dataclass(frozen=True)
class Prepared:
    """What is to be done, and the outcome of those for whom nothing can be."""

    jobs: dict[str, Job] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def busy(self) -> list[Job]:
        """The jobs that change something."""
        return [job for job in self.jobs.values() if not job.work.nothing]

    @property
    def notes(self) -> list[str]:
        """What the operator should know of each host, which the sentences name."""
        return [f"{name}: {note}" for name, job in self.jobs.items() for note in job.notes]


def prepare(
    names: Iterable[str],
    reached: Mapping[str, Reached],
    bundles: Mapping[str, Bundle],
    previous: Mapping[str, Bundle],
    told: Callable[[str], None] = lambda _text: None,
) -> Prepared:
    """A job or an outcome for each of the `names`; downloads wheels to this machine, writes to no host.

    `told` hears of downloads.
    """
    prepared = Prepared()
    store = WheelStore(told)
    for name in names:
        found = reached[name]
        if found.facts is None:
            prepared.outcomes[name] = Outcome(name, found.failure or "unreachable", error=found.error)
            continue
        try:
            prepared.jobs[name] = _job(found, found.facts, bundles[name], previous.get(name), store)
        except TransportError as error:
            prepared.outcomes[name] = Outcome(name, error.kind, error=str(error), report=found.facts.report)
    return prepared


def _job(reached: Reached, facts: Facts, bundle: Bundle, previous: Bundle | None, store: WheelStore) -> Job:
    """Raises TransportError where the host cannot have what it needs."""
    name = reached.host.name
    backends = {interface.backend for interface in bundle.interfaces}
    if "kernel" in backends and not facts.wireguard:
        reason = (
            "fleet_backend is kernel, but its kernel has no WireGuard: install a kernel with it (Linux 5.6 "
            "or newer), or set fleet_backend: auto"
        )
        raise TransportError(name, "failed", reason)
    userspace = "userspace" in backends or ("auto" in backends and not facts.wireguard)
    release = planned(name, facts, userspace)
    kept = stays(facts, release.manifest, bundle)
    if isinstance(kept, str):
        raise TransportError(name, "failed", kept)
    if kept and facts.report is not None:
        running = facts.report.release
        work = decide(bundle, previous, facts.report, running, running)
        _check_space(name, facts, work, release)
        return Job(reached, work, bundle, release, notes=(*_joins(facts), _kept(facts, release.manifest)))
    if others(facts, bundle.fleet) and facts.manifest is not None and facts.manifest.userspace:
        release = planned(name, facts, True)  # another fleet may need what is there
    release, wheels = with_wheels(name, facts, release, store)
    work = decide(bundle, previous, facts.report, release.digest, facts.release)
    _check_space(name, facts, work, release)
    return Job(reached, work, bundle, release, wheels, _joins(facts))


def _joins(facts: Facts) -> tuple[str, ...]:
    """That a host which is in other fleets is new to this one."""
    if facts.report is None or facts.report.fleet is not None or not facts.report.others:
        return ()
    names = ", ".join(other.name for other in facts.report.others)
    return (f"it is in {names} too, which stays as it is",)


def _kept(facts: Facts, mine: Manifest) -> str:
    newer = "" if facts.manifest is None else facts.manifest.version
    return f"its agent, of fleet {newer}, is newer than this one's ({mine.version}) and stays"


def planned(name: str, facts: Facts, userspace: bool) -> Release:
    release = plan(facts, userspace)
    if isinstance(release, str):
        raise TransportError(name, "failed", release)
    return release


def with_wheels(name: str, facts: Facts, release: Release, store: WheelStore) -> tuple[Release, Wheels]:
    """The release and its wheels; where they cannot be had, one with the host's own modules."""
    if not lacks_release(facts.report, release.digest, facts.release):
        return release, ()
    assert facts.python is not None
    try:
        return release, store.get(release, facts.python.version)
    except FleetError as error:
        own = plan(facts, release.manifest.userspace, borrow=True)
        if isinstance(own, str) or own.wheels:
            raise TransportError(name, "failed", str(error)) from None
        return own, ()


def _check_space(name: str, facts: Facts, work: Work, release: Release) -> None:
    wanted = [(facts.free_opt, release.space, "/opt")] if work.install else []
    wanted += [(facts.free_var, _STATE_BYTES, "/var/lib")] if work.deliver else []
    for free, needed, where in wanted:
        if free is not None and free < needed:
            reason = (
                f"there is no space in {where}: {free >> 20} MiB are free and {needed >> 20} MiB are needed; "
                "make room on the host and apply again"
            )
            raise TransportError(name, "failed", reason)
