"""`fleet`: the entry point, and the exit codes: 0 done, 1 error, 2 a promised difference, 130 interrupted.

Refuses to know what a command does; each module of this package adds one to `app`.
"""

from __future__ import annotations

import sys

import typer

from fleet.errors import FleetError

app = typer.Typer(
    name="fleet",
    help="Ansible-style provisioning for WireGuard networks.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; the only place where the controller exits."""
    try:
        code = app(standalone_mode=False)
    except FleetError as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code or 0)
