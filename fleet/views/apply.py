"""How `fleet apply` looks: the preview, the question, a recap line a host as Ansible's, JSON.

Called by `fleet.cli.apply`. Refuses to know how changes are made.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from agent.codec import encode
from agent.report import Change
from fleet.rollout.decide import Work
from fleet.rollout.outcome import Outcome
from fleet.views.console import emit_json, err, escape, number_of_hosts, out

_MOST_NAMES = 10
SIGNS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}
COLOURS = {
    "changed": "yellow",
    "unchanged": "green",
    "failed": "red",
    "unreachable": "red",
    "skipped": "cyan",
}


def preview(name: str, works: Sequence[Work], outcomes: Sequence[Outcome], notes: Iterable[str]) -> None:
    """What an apply would do, before anybody is asked: hosts that nothing is known of have a line each.

    Hosts to which the same happens are named together.
    """
    console = out()
    together: dict[tuple[str, ...], list[str]] = {}
    for work in works:
        if work.known and not work.nothing:
            together.setdefault(tuple(_changes(work.changes)), []).append(work.host)
        elif not work.known:
            console.print(f"[green]+[/green] [bold]{escape(work.host)}[/bold]  {escape(_whole(work))}")
    for lines, hosts in together.items():
        console.print(f"[bold]{escape(', '.join(hosts))}[/bold]")
        for line in lines:
            console.print(f"  {line}")
    for outcome in outcomes:
        console.print(
            f"[{COLOURS[outcome.result]}]{outcome.result}[/{COLOURS[outcome.result]}] "
            f"{escape(outcome.error or outcome.host)}"
        )
    for note in notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")
    busy = sum(not work.nothing for work in works)
    failing = f", {len(outcomes)} that cannot be changed" if outcomes else ""
    console.print(f"\nfleet {escape(name)}: {busy} to change, {len(works) - busy} unchanged{failing}\n")


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    """Changes of one host: a line a layer and action; where a value changes, a line a change."""
    for (layer, action), group in groupby(changes, key=lambda change: (change.layer, change.action)):
        sign, colour = SIGNS[action]
        begin = f"[{colour}]{sign}[/{colour}] {layer:<10}"
        if action == "change":
            for change in group:
                values = f"{_value(change.actual)} -> {_value(change.expected)}"
                yield f"{begin} {escape(change.item)}: {values}"
        else:
            names = list(dict.fromkeys(map(_name, group)))
            yield f"{begin} {escape(_listed(names) if action == 'add' else ', '.join(names))}"


def _whole(work: Work) -> str:
    """Everything that a host gets of which nothing is known."""
    items: dict[str, list[str]] = {}
    for change in work.changes:
        items.setdefault(change.layer, []).append(change.item)
    new = any(change.layer == "runtime" and change.action == "add" for change in work.changes)
    addresses = ", ".join(items.get("address", ())) or "no address"
    counts = [
        f"{len(items[layer])} {layer}{'s' * (len(items[layer]) > 1)}"
        for layer in ("peer", "route")
        if layer in items
    ]
    forwards = ["ip forwarding"] if "forwarding" in items else []
    firewall = [_plain(change.expected) for change in work.changes if change.layer == "firewall"]
    egress = [str(change.expected) for change in work.changes if change.layer == "egress"]
    ways = [deed for deed in dict.fromkeys(egress) if deed != "True"]
    return f"{'new' if new else 'its agent does not answer'}: " + ", ".join(
        ["the agent", addresses, *counts, *forwards, *firewall, *ways]
    )


def _name(change: Change) -> str:
    """What is added or removed; of a firewall table and of the rules of a full tunnel, what they do."""
    if change.layer not in ("firewall", "egress") or isinstance(change.expected, bool):
        return change.item
    deeds = _plain(change.actual if change.expected is None else change.expected)
    return f"{change.item.split()[0]}: {deeds}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def question(count: int) -> str:
    """What the operator is asked."""
    return f"Change {number_of_hosts(count)}?"


def told(text: str) -> None:
    """What takes a while before there is anything to show."""
    err().print(escape(text))


def interrupted() -> None:
    """Answers the first Ctrl-C."""
    err().print("\ninterrupted: finishing the hosts that are being written to, beginning no more")


def recap(outcomes: Sequence[Outcome], notes: Iterable[str], told: Container[str] = ()) -> None:
    """A line a host, errors above them but for those of the hosts that were `told` of before."""
    console = out()
    for outcome in outcomes:
        if outcome.error and outcome.host not in told:
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
            "than the kernel's. Install a kernel with WireGuard (Linux 5.6 or newer has it), set "
            "fleet_backend: kernel and apply again."
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
    if isinstance(value, bool):
        return "on" if value else "off"
    return escape(_plain(value)) or "none"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
