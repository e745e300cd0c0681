"""`fleet destroy`: takes the fleet off its hosts, so that they are what they were before."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.consent import agreed
from fleet.cli.options import INTERRUPTED, Forks, Json, Limit, Timeout
from fleet.errors import FleetError

if TYPE_CHECKING:
    from agent.bundle import Bundle
    from agent.secret import Secrets
    from fleet.inventory.model import Inventory
    from fleet.keys.keyring import Keyring
    from fleet.rollout.destroy import Parting, Partings
    from fleet.rollout.outcome import Outcome
    from fleet.state.memory import Memory
    from fleet.state.store import Store

EXAMPLE = (
    "Examples: fleet destroy inventory.yml; one host, unasked: fleet destroy inventory.yml --limit oslo --yes"
)


@dataclass(frozen=True)
class Options:
    """What the command line asks for, beside the inventory."""

    names: list[str]
    yes: bool
    forks: int
    timeout: float
    json: bool


def command(
    inventory: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file.")],
    limit: Limit = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    forks: Forks = 20,
    timeout: Timeout = 15.0,
    json: Json = False,
) -> None:
    """Show what is there, ask, then take everything that fleet put on the hosts off them, and nothing else.

    Interfaces, routes, firewall tables, forwarding, the agent, its files and units go; what was there before
    fleet stays as it was. A host that cannot be reached is named: the same again finishes. Keys and addresses
    stay in the state, so fleet apply brings the same fleet back. Exits 0, or 1 where a host is not done, 130
    where it was interrupted.
    """
    from fleet.intent import load
    from fleet.inventory.patterns import select

    fleet = load(inventory)
    code = _destroy(fleet, Options(select(fleet, limit), yes, forks, timeout, json))
    if code:
        raise typer.Exit(code)


def _destroy(fleet: Inventory, options: Options) -> int:
    """The whole run, under the state's lock; the exit code."""
    import os

    from fleet.keys.keyring import Keyring
    from fleet.lab.access import find
    from fleet.rollout.destroy import prepare
    from fleet.rollout.guard import Known, check_identity
    from fleet.rollout.reach import reach
    from fleet.state.store import Store, state_place
    from fleet.views.apply import told
    from fleet.views.progress import HostProgress

    store = Store(state_place(fleet))
    with ExitStack() as stack:
        stack.enter_context(store.lock(f"fleet destroy {fleet.file}"))
        memory = store.load()
        if memory is None:
            raise FleetError(
                f"There is no state in {store.place}: nothing was applied from here. Restore a backup, "
                "or take the fleet over first with: fleet apply --adopt"
            )
        with HostProgress("connecting", len(options.names), options.json, lines=False) as progress:
            reached = stack.enter_context(
                reach(
                    [fleet.hosts[name] for name in options.names],
                    find(fleet),
                    fleets=[memory.fleet_id, fleet.name],
                    forks=options.forks,
                    timeout=options.timeout,
                    event=progress.event,
                    done=progress.done,
                )
            )
        reports = {
            name: found.facts.report
            for name, found in reached.items()
            if found.facts is not None and found.facts.report is not None
        }
        known = Known(memory.fleet_id, memory.revision)
        check_identity(known, reports, fleet.hosts, str(store.place), "fleet apply ")
        last = _last(store, fleet)
        partings = prepare(reached, memory, last, options.forks, told)
        keyring = Keyring(Path.home(), os.environ, os.urandom)
        return _carry_out(fleet, options, store, memory, partings, keyring)


def _carry_out(
    fleet: Inventory, options: Options, store: Store, memory: Memory, partings: Partings, keyring: Keyring
) -> int:
    """Preview, question, work, recap."""
    from fleet.rollout.order import led_through
    from fleet.rollout.outcome import Outcome
    from fleet.views import apply as view
    from fleet.views import destroy as parting_view

    through = led_through(fleet, {name: record.addresses for name, record in memory.hosts.items()})
    if not options.json:
        leaving = [job.leaving for job in partings.jobs.values()]
        notes = _notes(fleet, options, memory, through)
        parting_view.preview(fleet.name, leaving, list(partings.outcomes.values()), notes)
    busy = len(partings.busy)
    if busy and not options.yes:
        refusal = (
            f"{busy} to take it off, and nobody to ask here: --yes does it unasked. Nothing was changed."
        )
        if not agreed(parting_view.question(busy), options.json, refusal):
            raise FleetError("Nothing was changed.")
    outcomes = {
        **partings.outcomes,
        **{name: Outcome(name, "unchanged") for name in partings.jobs},
    }
    interrupted = False
    if busy:
        secrets = {
            job.leaving.host: _secrets(memory, job.leaving.host, job.leaving.meant, keyring)
            for job in partings.busy
            if job.leaving.meant is not None
        }
        store.save(_remembering(memory, partings.busy))
        done, interrupted = _write(options, partings, secrets, through, memory.fleet_id)
        outcomes.update(done)
    ordered = [outcomes.get(name) or Outcome(name, "skipped") for name in fleet.hosts]
    fine = all(outcome.ok for outcome in ordered) and not interrupted
    if options.json:
        view.recap_json(fine, ordered)
    else:
        chosen = [outcome for outcome in ordered if outcome.host in outcomes]
        notes = [f"{o.host}: {note}" for o in ordered for note in o.notes]
        view.recap(chosen, [*notes, *_after(fleet, options, outcomes, store)], told=partings.outcomes)
    if interrupted:
        return INTERRUPTED
    return 0 if fine else 1


def _write(
    options: Options,
    partings: Partings,
    secrets: Mapping[str, Secrets],
    through: frozenset[str],
    fleet: str,
) -> tuple[dict[str, Outcome], bool]:
    """What came of every host that there was something on, and whether it was interrupted."""
    from fleet.rollout.destroy import carry_out
    from fleet.rollout.interrupt import Interrupt
    from fleet.views.apply import interrupted
    from fleet.views.progress import HostProgress

    with Interrupt(interrupted) as interrupt:
        with HostProgress("destroying", len(partings.busy), options.json) as progress:
            outcomes = carry_out(
                partings,
                secrets,
                through,
                fleet,
                forks=options.forks,
                event=progress.event,
                done=progress.done,
                stop=lambda: interrupt.asked,
            )
        return outcomes, interrupt.asked


def _last(store: Store, fleet: Inventory) -> dict[str, Bundle]:
    """What the fleet last was on each host that it ever was on."""
    found = {}
    for name in fleet.hosts:
        bundles = [bundle for bundle in store.history(name) if bundle.interfaces]
        if bundles:
            found[name] = bundles[-1]
    return found


def _secrets(memory: Memory, name: str, meant: Bundle, keyring: Keyring) -> Secrets:
    """The keys that a bundle of the past names."""
    from fleet.desired import Desired

    return Desired(memory, {name: meant}, {}, (), keyring.find).secrets_for(name)


def _remembering(memory: Memory, busy: list[Parting]) -> Memory:
    """What is to be saved before the first host is touched: who leaves, by a revision of its own."""
    hosts = dict(memory.hosts)
    revision = memory.revision
    for job in busy:
        name, empty = job.reached.host.name, job.leaving.empty
        if empty is not None and name in hosts:
            hosts[name] = replace(hosts[name], bundle=empty)
            revision = max(revision, empty.revision)
    return replace(memory, revision=revision, hosts=hosts)


def _notes(fleet: Inventory, options: Options, memory: Memory, through: frozenset[str]) -> list[str]:
    """What the operator should know before saying yes."""
    notes = []
    chosen = set(options.names)
    first = sorted(through & chosen)
    if first:
        notes.append(
            f"the way to {', '.join(first)} leads through the fleet: they go first, who may carry it last"
        )
    outside = sorted(through - chosen)
    if outside:
        notes.append(
            f"the way to {', '.join(outside)} leads through the fleet too, and --limit leaves them in it: "
            "they may be out of reach after this"
        )
    left = [
        name
        for name, record in memory.hosts.items()
        if name not in fleet.hosts and record.bundle is not None and record.bundle.interfaces
    ]
    if left:
        notes.append(
            f"not in the inventory any more, but once applied: {', '.join(sorted(left))}. The state does not "
            "know the way to them: put them back into the inventory to take the fleet off them too"
        )
    return notes


def _after(fleet: Inventory, options: Options, outcomes: Mapping[str, Outcome], store: Store) -> list[str]:
    """What the operator should know afterwards."""
    notes = []
    if any(outcome.result == "unreachable" for outcome in outcomes.values()):
        notes.append("what could not be reached is as it was: run the same again once it can be")
    outside = [name for name in fleet.hosts if name not in options.names]
    if outside and any(outcome.result == "changed" for outcome in outcomes.values()):
        notes.append(
            f"still in the inventory: {', '.join(options.names)}. The other hosts keep their entries for "
            "them, and the next fleet apply brings them back; to be rid of them, take them out of it"
        )
    notes.append(
        f"keys and addresses stay in {store.place}: fleet apply brings the same fleet back; delete that file "
        "if it never shall"
    )
    return notes
