"""How `fleet status` looks: a table of hosts, one of links, JSON. Called by `fleet.cli.status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from agent.report import Link, Report
from fleet.rollout.outcome import HostStatus
from fleet.views.apply import warn_userspace
from fleet.views.console import emit_json, escape, out

COLOURS = {"up": "green", "idle": "cyan", "down": "red"}


def show(name: str, hosts: Sequence[HostStatus]) -> None:
    """Tables for a person."""
    console = out()
    table = Table(title=f"fleet {name}", title_justify="left", box=None, pad_edge=False)
    for column in ("host", "backend", "revision", "links up/all", "why this backend", "note"):
        table.add_column(column, overflow="fold")
    for status in hosts:
        report = status.report
        if report is None:
            note = "[yellow]no agent answers[/yellow]" if status.reachable else "[red]unreachable[/red]"
            table.add_row(escape(status.host), "-", "-", "-", "", note)
            continue
        up = sum(link.state == "up" for link in report.links)
        table.add_row(
            escape(status.host),
            _backend(status.backend),
            str(report.revision or "-"),
            f"{up}/{len(report.links)}",
            escape(status.reason or ""),
            "; ".join(_notes(report)),
        )
    console.print(table)
    for line in _lines(hosts):
        console.print(f"[yellow]{escape(line)}[/yellow]")
    links = Table(box=None, pad_edge=False)
    for column in ("link", "state", "last handshake", "endpoint"):
        links.add_column(column, overflow="fold")
    for column in ("received", "sent"):
        links.add_column(column, justify="right")
    for status in hosts:
        for link in status.report.links if status.report else ():
            links.add_row(*_link_row(status.host, link))
    if links.row_count:
        console.print()
        console.print(links)
    warn_userspace(one.host for one in hosts if one.backend == "userspace" and not one.asked_for)


def show_json(hosts: Sequence[HostStatus]) -> None:
    """The same as JSON, version 1."""
    emit_json({"version": 1, "hosts": {status.host: _host_json(status) for status in hosts}})


def age(seconds: int | None) -> str:
    """An age as wg prints them, its largest two units: `1 m 5 s ago`, `never`."""
    if seconds is None:
        return "never"
    units = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
    parts = []
    for size, unit in units:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return f"{' '.join(parts[:2])} ago" if parts else "now"


def size(count: int) -> str:
    """Bytes in binary units, as wg prints them."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.2f} {unit}"


def _host_json(status: HostStatus) -> Mapping[str, Any]:
    links = status.report.links if status.report else ()
    return {
        "reachable": status.reachable,
        "backend": status.backend,
        "backend_reason": status.reason,
        "revision": status.report.revision if status.report else None,
        "namespaces": _namespaces(status.report) if status.report else [],
        "error": status.error,
        "problems": list(status.report.problems) if status.report else [],
        "other_fleets": [other.name for other in status.report.others] if status.report else [],
        "peers": {
            link.host: {
                "state": link.state,
                "latest_handshake_seconds": link.latest_handshake_seconds,
                "endpoint": link.endpoint,
                "rx_bytes": link.rx_bytes,
                "tx_bytes": link.tx_bytes,
            }
            for link in links
        },
    }


def _link_row(host: str, link: Link) -> tuple[str, ...]:
    colour = COLOURS[link.state]
    return (
        escape(f"{host} -> {link.host}"),
        f"[{colour}]{link.state}[/{colour}]",
        age(link.latest_handshake_seconds),
        escape(link.endpoint or "(calls us)"),
        size(link.rx_bytes),
        size(link.tx_bytes),
    )


def _namespaces(report: Report) -> list[str]:
    """The network namespaces that interfaces are in, other than the host's own."""
    return list(dict.fromkeys(one.netns for one in report.observed.interfaces if one.netns is not None))


def _backend(backend: str | None) -> str:
    return "[bold yellow]USERSPACE[/bold yellow]" if backend == "userspace" else backend or "-"


def _lines(hosts: Sequence[HostStatus]) -> list[str]:
    """What is wrong, a line each: a table would fold it."""
    lines = []
    for status in hosts:
        if status.error is not None:
            lines.append(status.error)
        if status.report is not None:
            lines += [f"{status.host}: {problem}" for problem in status.report.problems]
    return lines


def _notes(report: Report) -> list[str]:
    notes = []
    if report.pending:
        count = len(report.pending)
        notes.append(
            f"[yellow]{count} difference{'s: apply mends them' if count > 1 else ': apply mends it'}[/yellow]"
        )
    if report.others:
        notes.append(f"also here: {escape(', '.join(other.name for other in report.others))}")
    notes += [f"in namespace {escape(netns)}" for netns in _namespaces(report)]
    restarts = sum(report.restarts.values())
    if restarts:
        notes.append(f"tunnel restarted {restarts} x")
    return notes
