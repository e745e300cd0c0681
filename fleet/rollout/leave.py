"""What it takes to get a host out of its fleet, decided from what is there. Pure.

Job: whether the agent has to leave, whether there has to be one first, what will be gone. Called by
`fleet.rollout.destroy`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.bundle import VERSION, Bundle
from agent.converge import converge
from agent.report import Change
from fleet.delivery.facts import Facts
from fleet.delivery.newest import others
from fleet.delivery.remove import Traces
from fleet.state.memory import Memory


@dataclass(frozen=True)
class Leaving:
    """How a host leaves; `changes` says what goes, in order, `notes` are sentences.

    `empty` is what its agent leaves by, None where it is in the fleet no more. `install`: an agent has to be
    put there first, for none answers that could undo what is left. `meant`: what the fleet last was on it,
    for an agent that turns out to know nothing of that; `present` are interfaces of the names in it.
    """

    host: str
    empty: Bundle | None = None
    install: bool = False
    meant: Bundle | None = None
    present: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether there is nothing of the fleet's on the host."""
        return self.empty is None and not self.changes


def empty_bundle(memory: Memory, name: str, held_host: str | None) -> Bundle:
    """What a host of the inventory leaves by: the next revision, or once more what it was to leave by before.

    `held_host` is what the host itself goes by in the fleet, None where it does not say.
    """
    host = held_host or name
    record = memory.hosts.get(name)
    if record is not None and record.bundle is not None:
        known = record.bundle
        if not known.interfaces and known.host == host:
            return known
    return Bundle(VERSION, memory.fleet_id, memory.fleet_name, host, memory.revision + 1, ())


def decide_leaving(
    name: str, empty: Bundle, meant: Bundle | None, done: bool, facts: Facts, traces: Traces
) -> Leaving | str:
    """What takes the host `name` out of the fleet of `empty`, or why that cannot be, as a sentence.

    `meant` is the last bundle with interfaces that the state has of it; `done`: the state says that it has
    left since. Then an interface of a name that was the fleet's is somebody else's by now, unless something
    of fleet's is there still.
    """
    report, beside = facts.report, others(facts, empty.fleet)
    member = report is not None and report.fleet == empty.fleet
    kept = empty.fleet in traces.fleets
    suspect = bool(traces.interfaces) or (bool(traces.undone) and not beside)
    open_ = (bool(traces.places) and not beside) or not done
    lost = not member and (kept or (suspect and open_ and meant is not None))
    if lost and report is None and beside:
        why = facts.agent_error or "its agent does not answer"
        return f"{why}, and serves other fleets too ({', '.join(beside)}): see that it runs, then try again"
    changes: list[Change] = []
    if member and report is not None:
        for interface in report.observed.interfaces:
            changes += [_gone("address", f"{interface.name} {address}") for address in interface.addresses]
        changes += [step.change for step in converge(empty, report.observed, meant)]
    elif lost:
        changes += _lost(meant, traces)
    notes: tuple[str, ...] = ()
    if not beside:
        changes += [_gone("file", place) for place in traces.places]
    elif member or lost:
        notes = (f"{', '.join(beside)} stays on it, and the agent with it",)
    return Leaving(
        name,
        empty if member or lost else None,
        install=lost and report is None,
        meant=meant if lost else None,
        present=traces.interfaces,
        changes=tuple(changes),
        notes=notes,
    )


def _lost(meant: Bundle | None, traces: Traces) -> Iterator[Change]:
    """What is there of a fleet that no agent answers for."""
    for interface in () if meant is None else meant.interfaces:
        if interface.name in traces.interfaces:
            yield _gone("interface", interface.name)


def _gone(layer: str, item: str) -> Change:
    return Change(layer, item, "remove", None, item)
