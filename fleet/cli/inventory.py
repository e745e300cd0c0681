"""`fleet inventory`: the hosts, their resolved values, and where each value came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.options import Json, Limit

EXAMPLE = "Example: fleet inventory inventory.yml --host fra1"


def _reference(wanted: bool) -> None:
    if wanted:
        from fleet.views.inventory import reference

        reference()
        raise typer.Exit


def command(
    inventory: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file.")],
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOST", help="All values of this host, and their origins.")
    ] = None,
    limit: Limit = None,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference",
            callback=_reference,
            is_eager=True,
            help="Print every key that fleet knows, its type, default and meaning, and exit.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Show what an inventory says: its hosts, or with --host every value of one and the place that set it."""
    from fleet.errors import FindingsError, FleetError
    from fleet.intent import examine
    from fleet.inventory.origins import host_values
    from fleet.inventory.patterns import select
    from fleet.inventory.suggest import suggestion
    from fleet.views import inventory as view

    reading = examine(inventory)
    found, source = reading.inventory, reading.source
    if reading.findings or found is None or source is None:
        raise FindingsError(reading.findings)
    values = host_values(source, found)
    if host is None:
        names = select(found, limit)
        if json:
            view.overview_json(found, {name: values[name] for name in names})
        else:
            view.overview(found, names, source.layers.sealed)
        return
    if host not in values:
        raise FleetError(f"{inventory}: no host is called {host!r}{suggestion(host, values)}")
    show = view.host_json if json else view.host
    show(found.hosts[host], values[host])
