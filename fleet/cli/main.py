"""`fleet`: the entry point, and the exit codes: 0 done, 1 error, 2 a promised difference, 130 interrupted.

Refuses to know what a command does; each module of this package is one.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fleet.cli import apply, destroy, init, inventory, lab, status, validate
from fleet.cli.options import INTERRUPTED
from fleet.errors import FleetError

ERROR = 1

app = typer.Typer(
    name="fleet",
    help="Ansible-style provisioning for WireGuard networks: one inventory in, a working mesh out.",
    epilog="Begin with: fleet init DIR. Every command explains itself: fleet COMMAND --help.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (init, validate, inventory, apply, status, destroy):
    name = module.__name__.rpartition(".")[2]
    app.command(name, epilog=module.EXAMPLE)(module.command)
app.add_typer(lab.app, name="lab")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fleet {version('fleet-wireguard')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; the only place where the controller exits."""
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        show = getattr(error, "show", None)
        show() if show else sys.stderr.write(f"{error.format_message()}\n")
        code = ERROR
    except FleetError as error:
        from fleet.views.console import visible

        sys.stderr.write(f"{visible(str(error))}\n")
        code = ERROR
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    sys.exit(code or 0)
