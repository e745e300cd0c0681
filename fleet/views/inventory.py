"""How an inventory looks: findings, overview, a host's values, the reference of keys.

Called by `fleet validate`, `fleet inventory` and `fleet init`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleet.inventory.model import Host, Inventory
from fleet.inventory.origins import Value
from fleet.inventory.read import Reading
from fleet.views.console import emit_json, escape, out

Values = Mapping[str, Value]


def validated(reading: Reading) -> None:
    """Every finding on a line of its own, or one line of praise."""
    console = out()
    for finding in reading.findings:
        console.print(escape(str(finding)))
    inventory = reading.inventory
    if not reading.findings and inventory is not None:
        counts = f"{_count(len(inventory.hosts), 'host')}, {_count(len(inventory.rules), 'rule')}"
        console.print(
            f"{escape(str(inventory.file))}: fleet {inventory.name}, {counts}: [green]valid[/green]"
        )


def validated_json(reading: Reading) -> None:
    """The same as JSON, version 1."""
    findings = [
        {
            "file": str(finding.where.file),
            "line": finding.where.line,
            "column": finding.where.column,
            "message": finding.message,
        }
        for finding in reading.findings
    ]
    emit_json({"version": 1, "ok": not findings, "findings": findings})


def overview(inventory: Inventory, names: Sequence[str], sealed: Sequence[Path]) -> None:
    """A line a host; encrypted files that were not read below."""
    console = out()
    console.print(f"fleet {inventory.name}, pools {', '.join(map(str, inventory.pools))}", style="bold")
    rows = []
    for host in (inventory.hosts[name] for name in names):
        rows.append(
            (
                host.name,
                ", ".join(host.groups) or "-",
                _login(host),
                host.endpoint or "(calls only)",
                ", ".join(map(str, host.addresses)) or "from the pools",
                ", ".join(map(str, host.subnets)) or "-",
                ", ".join(_notes(host)) or "-",
            )
        )
    _columns(("host", "groups", "login", "endpoint", "addresses", "subnets", "notes"), rows)
    for file in sealed:
        console.print(f"[yellow]not read, since encrypted:[/yellow] {escape(str(file))}")


def overview_json(inventory: Inventory, values: Mapping[str, Values]) -> None:
    """The whole as JSON, version 1."""
    emit_json(
        {
            "version": 1,
            "fleet": {"name": inventory.name, "pools": list(map(str, inventory.pools))},
            "groups": {group: list(hosts) for group, hosts in inventory.groups.items()},
            "hosts": {name: _host_json(inventory.hosts[name], found) for name, found in values.items()},
        }
    )


def host(found: Host, values: Values) -> None:
    """A host's values and their origins, a line each."""
    console = out()
    console.print(f"[bold]{escape(found.name)}[/bold]  {escape(str(found.where))}")
    console.print(f"groups: {escape(', '.join(found.groups) or '-')}")
    rows = [
        (
            name,
            value.value if isinstance(value.value, str) else json.dumps(_jsonable(value.value)),
            value.origin,
            str(value.where) if value.where else "-",
        )
        for name, value in values.items()
    ]
    _columns(("variable", "value", "from", "where"), rows)


def host_json(found: Host, values: Values) -> None:
    """The same as JSON, version 1."""
    emit_json({"version": 1, "host": found.name, **_host_json(found, values)})


def reference() -> None:
    """The reference of all keys."""
    from fleet.inventory.reference import markdown

    out().print(markdown(), end="", markup=False)


def started(file: Path) -> None:
    """What to do with a new inventory."""
    console = out()
    console.print(f"wrote {escape(str(file))}: put your hosts in, then")
    for command in ("validate", "apply"):
        console.print(f"  fleet {command} {escape(str(file))}")


def _host_json(found: Host, values: Values) -> dict[str, Any]:
    return {
        "groups": list(found.groups),
        "variables": {
            name: {
                "value": _jsonable(value.value),
                "from": value.origin,
                "where": str(value.where) if value.where else None,
            }
            for name, value in values.items()
        },
    }


def _jsonable(value: Any) -> Any:
    """YAML knows dates, sets and keys that JSON does not."""
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _login(host: Host) -> str:
    login = host.connection
    if login.kind == "local":
        return "local"
    name = f"{login.user}@{login.host}" if login.user else login.host
    return f"{name} port {login.port}" if login.port else name


def _notes(host: Host) -> list[str]:
    flags = {"nat": host.nat, "transit": host.transit, "self-heal": host.self_heal}
    notes = [name for name, holds in flags.items() if holds]
    notes += [f"in namespace {host.netns}"] if host.netns else []
    notes += [f"masquerade to {' '.join(host.masquerade)}"] if host.masquerade else []
    notes += [f"egress via {host.egress}"] if host.egress else []
    return notes if host.backend == "auto" else [*notes, host.backend]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _columns(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """As wide as the content: folded, a FILE:LINE:COLUMN could no longer be followed."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for index, row in enumerate((heads, *rows)):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        out().print(line, style="bold" if index == 0 else None, markup=False)
