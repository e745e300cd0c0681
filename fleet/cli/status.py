"""`fleet status`: asks every host and shows what is true."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.options import Forks, Json, Limit, Timeout

EXAMPLE = "Example: fleet status inventory.yml --limit branches --json"


def command(
    inventory: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file.")],
    limit: Limit = None,
    forks: Forks = 20,
    timeout: Timeout = 15.0,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Let agents call idle peers before they answer.")
    ] = True,
    json: Json = False,
) -> None:
    """Show backend, revision and links of every host, as the hosts themselves report them.

    Exits 0, or 1 where a host could not be reached or runs no agent.
    """
    from fleet.intent import load
    from fleet.inventory.patterns import select
    from fleet.lab.access import find
    from fleet.rollout.status import statuses
    from fleet.views import status as view

    fleet = load(inventory)
    names = select(fleet, limit)
    hosts = [fleet.hosts[name] for name in names]
    found = statuses(hosts, find(fleet), fleet=fleet.name, forks=forks, timeout=timeout, probe=probe)
    if json:
        view.show_json(found)
    else:
        view.show(fleet.name, found)
    if any(status.report is None for status in found):
        raise typer.Exit(1)
