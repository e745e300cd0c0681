"""`fleet validate`: says everything that is wrong with an inventory, and touches no host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.options import Json

EXAMPLE = "Example: fleet validate inventory.yml"


def command(
    inventory: Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file.")],
    json: Json = False,
) -> None:
    """Check an inventory and the files beside it, links included; every finding is FILE:LINE:COLUMN: MESSAGE.

    Exits 0 where nothing is wrong, else 1.
    """
    from fleet.intent import examine
    from fleet.views import inventory as view

    reading = examine(inventory)
    show = view.validated_json if json else view.validated
    show(reading)
    if reading.findings:
        raise typer.Exit(1)
