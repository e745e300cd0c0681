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
    """One host's work and what it takes; `wheels` are there if the release has to be installed."""

    reached: Reached
    work: Work
    bundle: Bundle
    release: Release
    wheels: Wheels = ()

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
    release, wheels = _release(name, facts, userspace, store)
    work = decide(bundle, previous, facts.report, release.digest, facts.release)
    _check_space(name, facts, work, release)
    return Job(reached, work, bundle, release, wheels)


def _release(name: str, facts: Facts, userspace: bool, store: WheelStore) -> tuple[Release, Wheels]:
    """The host's release and its wheels; where they cannot be had, one with the host's own modules."""
    release = plan(facts, userspace)
    if isinstance(release, str):
        raise TransportError(name, "failed", release)
    if not lacks_release(facts.report, release.digest, facts.release):
        return release, ()
    assert facts.python is not None
    try:
        return release, store.get(release, facts.python.version)
    except FleetError as error:
        own = plan(facts, userspace, borrow=True)
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
