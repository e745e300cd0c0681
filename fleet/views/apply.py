"""How `fleet apply` looks: the preview, the question, a recap line a host as Ansible's, JSON.

Called by `fleet.cli.apply`. Refuses to know how changes are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.prompt import Confirm

from agent.codec import encode
from agent.report import Change
from fleet.rollout.decide import Work
from fleet.rollout.outcome import Outcome
from fleet.views.console import emit_json, err, escape, out

SIGNS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}
COLOURS = {
    "changed": "yellow",
    "unchanged": "green",
    "failed": "red",
    "unreachable": "red",
    "skipped": "cyan",
}


def preview(name: str, works: Sequence[Work], outcomes: Sequence[Outcome], notes: Iterable[str]) -> None:
    """What an apply would do, host by host, before anybody is asked."""
    console = out()
    for work in works:
        if not work.nothing:
            console.print(f"[bold]{escape(work.host)}[/bold]")
            show_changes(work.changes)
    for outcome in outcomes:
        console.print(
            f"[{COLOURS[outcome.result]}]{outcome.result}[/{COLOURS[outcome.result]}] "
            f"{escape(outcome.error or outcome.host)}"
        )
    for note in notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")
    busy = sum(not work.nothing for work in works)
    failing = f", {len(outcomes)} cannot be" if outcomes else ""
    console.print(f"\nfleet {escape(name)}: {busy} to change, {len(works) - busy} unchanged{failing}\n")


def show_changes(changes: Sequence[Change]) -> None:
    """Changes of one host: a line a layer and action; where a value changes, a line a change."""
    console = out()
    for (layer, action), group in groupby(changes, key=lambda change: (change.layer, change.action)):
        sign, colour = SIGNS[action]
        items = list(group)
        if action == "change":
            for change in items:
                console.print(
                    f"  [{colour}]{sign}[/{colour}] {layer:<10} {escape(change.item)}: "
                    f"{_value(change.actual)} -> {_value(change.expected)}"
                )
        else:
            names = ", ".join(dict.fromkeys(change.item for change in items))
            console.print(f"  [{colour}]{sign}[/{colour}] {layer:<10} {escape(names)}")


def ask(count: int) -> bool:
    """Whether the operator wants it; on a terminal alone."""
    return Confirm.ask(f"Change {count} host{'s' if count > 1 else ''}?", console=out(), default=False)


def told(text: str) -> None:
    """What takes a while before there is anything to show."""
    err().print(escape(text))


def interrupted() -> None:
    """Answers the first Ctrl-C."""
    err().print("\ninterrupted: finishing the hosts that are being written to, beginning no more")


def recap(outcomes: Sequence[Outcome], notes: Iterable[str]) -> None:
    """A line a host, errors above them, and loudly who runs the userspace tunnel."""
    console = out()
    for outcome in outcomes:
        if outcome.error:
            colour = COLOURS[outcome.result]
            console.print(f"[{colour}]{outcome.result}[/{colour}] {escape(outcome.error)}")
    for note in notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")
    console.print("[bold]RECAP[/bold]")
    width = max((len(outcome.host) for outcome in outcomes), default=0)
    for outcome in outcomes:
        colour = COLOURS[outcome.result]
        counts = " ".join(
            f"{name}={int(outcome.result == name)}" for name in ("unreachable", "failed", "skipped")
        )
        console.print(
            f"{escape(outcome.host):<{width}} : [{colour}]{outcome.result:<11}[/{colour}] "
            f"changed={len(outcome.changes):<3} {counts}{_revision(outcome)}"
        )


def warn_userspace(hosts: Iterable[str]) -> None:
    """Says loudly that hosts have no WireGuard in their kernel."""
    names = ", ".join(hosts)
    if names:
        err().print(
            f"[bold yellow]USERSPACE WIREGUARD[/bold yellow] on {escape(names)}: it works, but is slower "
            "than the kernel's. Install a kernel with WireGuard (Linux 5.6 or newer has it) and apply again."
        )


def recap_json(ok: bool, outcomes: Iterable[Outcome]) -> None:
    """The outcome as JSON, version 1."""
    hosts: Mapping[str, Any] = {
        outcome.host: {
            "result": outcome.result,
            "changes": encode(outcome.changes),
            "error": outcome.error,
        }
        for outcome in outcomes
    }
    emit_json({"version": 1, "ok": ok, "hosts": hosts})


def _revision(outcome: Outcome) -> str:
    if outcome.report is None or outcome.report.revision is None:
        return ""
    return f" revision={outcome.report.revision}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return escape(", ".join(map(str, value))) or "none"
    return escape(str(value))
