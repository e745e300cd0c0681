"""Takes hosts out of their fleet, and everything off them that nobody else needs there.

Job: look at the hosts, decide, carry out wave by wave. Asks nobody, prints nothing, does not touch the
state. A host that fails, fails alone, unless the way to it leads through others: these wait. Called by
`fleet.cli.destroy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from agent.bundle import Bundle
from agent.secret import Secrets
from fleet.delivery import agent as agents
from fleet.delivery.install import install
from fleet.delivery.release import Release, archive
from fleet.delivery.remove import look, remove
from fleet.inventory.model import Host
from fleet.rollout.job import Wheels, WheelStore, planned, with_wheels
from fleet.rollout.leave import Leaving, decide_leaving, empty_bundle
from fleet.rollout.order import waves
from fleet.rollout.outcome import Outcome
from fleet.rollout.reach import Event, Reached, in_parallel
from fleet.state.memory import Memory
from fleet.transport.base import TransportError


@dataclass(frozen=True)
class Parting:
    """One host's work; `release` and `wheels` are there if an agent has to be put there first."""

    reached: Reached
    leaving: Leaving
    release: Release | None = None
    wheels: Wheels = ()


@dataclass(frozen=True)
class Partings:
    """What is to be done, and the outcome of those for whom nothing can be."""

    jobs: dict[str, Parting] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def busy(self) -> list[Parting]:
        """Those on which something is to be changed."""
        return [job for job in self.jobs.values() if not job.leaving.nothing]


def prepare(
    reached: Mapping[str, Reached],
    memory: Memory,
    last: Mapping[str, Bundle],
    forks: int,
    told: Callable[[str], None],
) -> Partings:
    """A parting or an outcome for everyone reached for; looks at the hosts, writes nothing.

    `last` has the last bundles with interfaces, as the state has them. `told` hears of downloads.
    """
    store = WheelStore(told)

    def one(host: Host) -> tuple[str, Parting | Outcome]:
        found = reached[host.name]
        try:
            return host.name, _parting(found, memory, last.get(host.name), store)
        except TransportError as error:
            return host.name, Outcome(host.name, error.kind, error=str(error))

    made = Partings()
    hosts = [found.host for found in reached.values()]
    results = dict(in_parallel(one, hosts, forks))
    for host in hosts:
        result = results[host.name]
        if isinstance(result, Parting):
            made.jobs[host.name] = result
        else:
            made.outcomes[host.name] = result
    return made


def _parting(reached: Reached, memory: Memory, meant: Bundle | None, store: WheelStore) -> Parting | Outcome:
    """Raises TransportError where the host cannot be taken out."""
    name, facts, transport = reached.host.name, reached.facts, reached.transport
    if facts is None or transport is None:
        return Outcome(name, reached.failure or "unreachable", error=reached.error)
    if facts.python is None:
        if facts.release is None and not facts.fleets:
            return Parting(reached, Leaving(name))
        raise TransportError(name, "failed", "there is no python3 any more: install it, then try again")
    report, record = facts.report, memory.hosts.get(name)
    member = report is not None and report.fleet == memory.fleet_id
    empty = empty_bundle(memory, name, report.host if report is not None and member else None)
    names = () if meant is None else tuple(interface.name for interface in meant.interfaces)
    traces = look(transport, facts.python.path, memory.fleet_id, names)
    done = record is not None and record.bundle is not None and not record.bundle.interfaces
    leaving = decide_leaving(name, empty, meant, done, facts, traces)
    if isinstance(leaving, str):
        raise TransportError(name, "failed", leaving)
    if not leaving.install:
        return Parting(reached, leaving)
    userspace = meant is None or any(interface.backend != "kernel" for interface in meant.interfaces)
    release, wheels = with_wheels(name, facts, planned(name, facts, userspace), store)
    return Parting(reached, leaving, release, wheels)


def carry_out(
    partings: Partings,
    secrets: Mapping[str, Secrets],
    through: frozenset[str],
    fleet: str,
    *,
    forks: int,
    event: Event,
    done: Callable[[str], None],
    stop: Callable[[], bool],
) -> dict[str, Outcome]:
    """Does what is to be done, `forks` hosts at a time; once `stop` says so, nothing that was not begun.

    `secrets` has the keys of the bundles that an agent has to be told first; `through` the hosts whose way
    leads through the fleet, whose id `fleet` is: as long as one of those that were asked for is not out, no
    host is that may carry it.
    """
    work = {job.leaving.host: job for job in partings.busy}
    outcomes: dict[str, Outcome] = {}

    def one(host: Host) -> Outcome:
        if stop():
            return Outcome(host.name, "skipped", error=f"{host.name}: interrupted before it was begun")
        try:
            job = work[host.name]
            return _do(job, secrets.get(host.name, Secrets()), host.name in through, fleet, event)
        finally:
            done(host.name)

    for wave in waves((job.reached.host for job in work.values()), through):
        cut_off = _stranded({**partings.outcomes, **outcomes}, through)
        if cut_off and wave[0].name not in through:
            outcomes |= {host.name: _waits(host.name, cut_off) for host in wave}
            for host in wave:
                done(host.name)
        else:
            outcomes |= {outcome.host: outcome for outcome in in_parallel(one, wave, forks)}
    return outcomes


def _stranded(outcomes: Mapping[str, Outcome], through: Iterable[str]) -> list[str]:
    return sorted(name for name in through if name in outcomes and outcomes[name].result != "changed")


def _waits(host: str, cut_off: list[str]) -> Outcome:
    names = ", ".join(cut_off)
    reason = (
        f"{host}: left as it is, for the way to {names} leads through the fleet and {names} is not out of "
        f"it: see to that and run the same again, or go on without with --limit 'all:!{':!'.join(cut_off)}'"
    )
    return Outcome(host, "failed", error=reason)


def _do(job: Parting, secrets: Secrets, last_word: bool, fleet: str, event: Event) -> Outcome:
    leaving, transport, facts = job.leaving, job.reached.transport, job.reached.facts
    assert transport is not None
    assert facts is not None
    assert facts.python is not None
    name, notes, empty = leaving.host, list(leaving.notes), leaving.empty
    try:
        if job.release is not None:
            event(name, "putting an agent there that undoes what is left")
            install(transport, job.release, archive(job.release, job.wheels), facts.boot)
        if leaving.meant is not None and agents.report(transport, fleet, probe=False).fleet != fleet:
            foreign = _foreign(job, leaving.meant)
            if foreign:
                notes.append(f"its {', '.join(foreign)} does not have this fleet's key, and stays")
            else:
                agents.apply(transport, leaving.meant, secrets, replace_fleet=False)
        event(name, "leaving the fleet")
        removed = remove(transport, facts.python.path, fleet, empty, last_word)
    except TransportError as error:
        return Outcome(name, error.kind, error=str(error), notes=tuple(notes))
    if removed is None:
        notes.append(
            "the way to it led through the fleet and is gone: it finishes by itself, unseen from here"
        )
    return Outcome(name, "changed", leaving.changes, notes=tuple(notes))


def _foreign(job: Parting, meant: Bundle) -> list[str]:
    """Interfaces of the fleet's names that have somebody else's key, or none. Raises TransportError."""
    transport = job.reached.transport
    assert transport is not None
    own = {interface.name: interface.public_key for interface in meant.interfaces}
    there = [name for name in job.leaving.present if name in own]
    keys = agents.public_keys(transport) if there else {}
    return [name for name in there if keys.get(name) != own[name]]
