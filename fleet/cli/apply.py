"""`fleet apply`: makes every host what the inventory says it should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.consent import agreed
from fleet.cli.options import INTERRUPTED, Forks, Json, Limit, Timeout
from fleet.errors import FleetError

if TYPE_CHECKING:
    from agent.secret import Secrets
    from fleet.desired import Desired
    from fleet.inventory.model import Inventory
    from fleet.rollout.intend import Mode
    from fleet.rollout.job import Prepared
    from fleet.rollout.outcome import Outcome
    from fleet.rollout.reach import Reached

EXAMPLE = "Example: fleet apply inventory.yml --limit branches --yes"


@dataclass(frozen=True)
class Options:
    """What the command line asks for, beside the inventory."""

    names: list[str]
    yes: bool
    forks: int
    timeout: float
    json: bool
    mode: Mode


def command(
    inventory: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file.")],
    limit: Limit = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    forks: Forks = 20,
    timeout: Timeout = 15.0,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over the fleet that the hosts belong to, with its keys.")
    ] = False,
    new_fleet: Annotated[
        bool,
        typer.Option("--new-fleet", help="Start anew, with new keys, in place of this fleet."),
    ] = False,
    json: Json = False,
) -> None:
    """Show what differs, ask, then make every host what the inventory says; again changes nothing.

    The whole fleet is looked at always; --limit restricts what is written. A host that fails, fails alone.
    Exits 0, or 1 where anything is not as it should be, 130 where it was interrupted.
    """
    from fleet.intent import load
    from fleet.inventory.patterns import select

    if adopt and new_fleet:
        raise FleetError(
            "--adopt and --new-fleet exclude each other: keep the fleet's keys, or make new ones"
        )
    fleet = load(inventory)
    mode: Mode = "adopt" if adopt else "new" if new_fleet else "known"
    options = Options(select(fleet, limit), yes, forks, timeout, json, mode)
    code = _apply(fleet, options)
    if code:
        raise typer.Exit(code)


def _apply(fleet: Inventory, options: Options) -> int:
    """The whole run, under the state's lock; the exit code."""
    import os

    from fleet.keys.keyring import Keyring
    from fleet.lab.access import find
    from fleet.rollout.intend import intend
    from fleet.rollout.reach import reach
    from fleet.state.store import Store, state_place
    from fleet.views.progress import HostProgress

    place = state_place(fleet)
    keyring = Keyring(Path.home(), os.environ, os.urandom)
    store = Store(place)
    with ExitStack() as stack:
        stack.enter_context(store.lock(f"fleet apply {fleet.file}"))
        memory = store.load()
        with HostProgress("connecting", len(fleet.hosts), options.json, lines=False) as progress:
            reached = stack.enter_context(
                reach(
                    fleet.hosts.values(),
                    find(fleet),
                    fleets=[*([] if memory is None else [memory.fleet_id]), fleet.name],
                    forks=options.forks,
                    timeout=options.timeout,
                    event=progress.event,
                    done=progress.done,
                )
            )
        desired = intend(
            fleet,
            memory,
            reached,
            keyring,
            mode=options.mode,
            place=place,
            forks=options.forks,
            random=os.urandom,
        )

        def keep() -> None:
            keyring.commit()
            store.save(desired.memory)

        return _carry_out(fleet, options, reached, desired, keep)


def _carry_out(
    fleet: Inventory,
    options: Options,
    reached: Mapping[str, Reached],
    desired: Desired,
    keep: Callable[[], None],
) -> int:
    """Preview, question, work, recap; `keep` saves the state and is called before the first write."""
    from fleet.rollout.apply import down_links
    from fleet.rollout.job import prepare
    from fleet.rollout.outcome import Outcome
    from fleet.views import apply as view

    prepared = prepare(options.names, reached, desired.bundles, desired.previous, view.told)
    busy = len(prepared.busy)
    if not options.json:
        works = [job.work for job in prepared.jobs.values()]
        notes = [*_notes(fleet, options, reached, desired), *prepared.notes]
        view.preview(fleet.name, works, list(prepared.outcomes.values()), notes)
    if busy and not options.yes:
        refusal = f"{busy} to change, and nobody to ask here: --yes does it unasked. Nothing was written."
        if not agreed(view.question(busy), options.json, refusal):
            raise FleetError("Nothing was written.")
    outcomes = {
        **prepared.outcomes,
        **{name: Outcome(name, "unchanged", report=job.facts.report) for name, job in prepared.jobs.items()},
    }
    interrupted = False
    if busy:
        secrets = {job.work.host: desired.secrets_for(job.work.host) for job in prepared.busy}
        keep()
        done, interrupted = _write(options, prepared, secrets)
        outcomes.update(done)
    ordered = [outcomes.get(name) or Outcome(name, "skipped") for name in fleet.hosts]
    if options.json:
        view.recap_json(all(outcome.ok for outcome in ordered) and not interrupted, ordered)
    else:
        notes = [f"{o.host}: {note}" for o in ordered for note in o.notes]
        chosen = [o for o in ordered if o.host in outcomes]
        view.recap(chosen, notes + down_links(outcomes), told=prepared.outcomes)
    fallen_back = [o.host for o in ordered if o.backend == "userspace"]
    view.warn_userspace(name for name in fallen_back if fleet.hosts[name].backend == "auto")
    if interrupted:
        return INTERRUPTED
    return 0 if all(outcome.ok for outcome in ordered) else 1


def _write(
    options: Options, prepared: Prepared, secrets: Mapping[str, Secrets]
) -> tuple[dict[str, Outcome], bool]:
    """What came of every host that had to be changed, and whether it was interrupted."""
    from fleet.rollout.apply import carry_out, read_again
    from fleet.rollout.interrupt import Interrupt
    from fleet.views.apply import interrupted
    from fleet.views.progress import HostProgress

    with Interrupt(interrupted) as interrupt:
        with HostProgress("applying", len(prepared.busy), options.json) as progress:
            outcomes = carry_out(
                prepared.busy,
                secrets,
                forks=options.forks,
                replace_fleet=options.mode == "new",
                event=progress.event,
                done=progress.done,
                stop=lambda: interrupt.asked,
            )
        changed = sum(outcome.result == "changed" for outcome in outcomes.values())
        with HostProgress("reading again", changed, options.json, lines=False) as progress:
            outcomes = read_again(
                outcomes, prepared.jobs, forks=options.forks, event=progress.event, done=progress.done
            )
        return outcomes, interrupt.asked


def _notes(fleet: Inventory, options: Options, reached: Mapping[str, Reached], desired: Desired) -> list[str]:
    """What the operator should know before saying yes."""
    from fleet.rollout.apply import waiting
    from fleet.rollout.intend import identity_notes
    from fleet.topology import check

    notes = [*identity_notes(reached), *check.notes(fleet)]
    if desired.left:
        notes.append(
            f"not in the inventory any more: {', '.join(desired.left)}. The others drop their links to "
            "them, their addresses stay reserved; what runs there goes on: to end it put them back and take "
            "the fleet off them with fleet destroy --limit, before they leave"
        )
    outside = waiting(reached, desired.bundles, set(options.names))
    if outside:
        notes.append(f"outside of --limit, and not as they should be: {', '.join(outside)}")
    return notes
