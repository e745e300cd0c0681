"""`fleet init`: writes a commented inventory to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: fleet init myfleet"


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder, made if need be.")],
) -> None:
    """Write DIR/inventory.yml, a small fleet with comments. Never overwrites a file."""
    from importlib.resources import files

    from fleet.errors import FleetError
    from fleet.views.inventory import started

    file = folder / "inventory.yml"
    text = files("fleet.inventory").joinpath("starter.yml").read_text()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("x") as stream:
            stream.write(text)
    except FileExistsError:
        taken = file if folder.is_dir() else folder
        raise FleetError(f"{taken} exists: name another folder, or move it away") from None
    except OSError as error:
        raise FleetError(f"{file} cannot be written: {error.strerror}") from None
    started(file)
