"""How the lab commands look. Called by `fleet.cli.lab`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from fleet.lab.build import Built
from fleet.lab.lab import HostState, Lab
from fleet.views.console import emit_json, escape, out


def show_up(lab: Lab, built: Built, seconds: float, inventory: Path) -> None:
    """What was made, and how to get in."""
    console = out()
    hosts = [door.host for door in lab.layout.doors]
    made = sum(name in built.made for name in hosts)
    others = len(built.made) - made
    console.print(
        f"lab {lab.record.name}: {_count(made, 'host')} made, {len(hosts) - made} already there"
        f"{f' (with {others} routers and clients)' if others else ''}, {seconds:.1f} s"
    )
    if built.ended:
        console.print(f"ended, no longer in the inventory: {escape(', '.join(built.ended))}")
    if hosts:
        file = shlex.quote(str(inventory))
        console.print(f"a shell on one: fleet lab exec {escape(file)} {escape(hosts[0])}")


def show_down(ended: Sequence[str]) -> None:
    """What was taken away."""
    out().print(f"lab taken away: {len(ended)} namespaces ended" if ended else "no lab was up")


def show_rebooted(built: Built) -> None:
    """Who booted again."""
    out().print(f"rebooted: {escape(', '.join(built.made))}")


def show_states(lab: Lab, states: Sequence[HostState]) -> None:
    """A table for a person."""
    table = Table(title=f"lab {escape(lab.record.name)}", title_justify="left", box=None, pad_edge=False)
    for column in ("host", "state", "address", "port", "behind NAT", "clients"):
        table.add_column(column, overflow="fold")
    for state in states:
        clients = ", ".join(
            f"{client.name} {client.address}{'' if client.up else ' (down)'}" for client in state.clients
        )
        table.add_row(
            escape(state.name),
            _state(state.up),
            state.address,
            str(state.port),
            "yes" if state.nat else "",
            escape(clients),
        )
    out().print(table)


def show_states_json(lab: Lab, states: Sequence[HostState]) -> None:
    """The same as JSON, version 1."""
    hosts = {
        state.name: {
            "state": "up" if state.up else "down",
            "address": state.address,
            "port": state.port,
            "nat": state.nat,
            "clients": {
                client.name: {"state": "up" if client.up else "down", "address": client.address}
                for client in state.clients
            },
        }
        for state in states
    }
    emit_json({"version": 1, "name": lab.record.name, "key_file": str(lab.place.key_file), "hosts": hosts})


def _state(up: bool) -> str:
    return "[green]up[/green]" if up else "[red]down[/red]"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
