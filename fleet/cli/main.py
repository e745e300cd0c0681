"""`fleet`: the entry point, and the exit codes: 0 done, 1 error, 2 a promised difference, 130 interrupted.

Refuses to know what a command does; each module of this package adds one to `app`.
"""

from __future__ import annotations

import sys

import typer

from fleet.errors import FleetError

ERROR = 1
INTERRUPTED = 130

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
    except typer.TyperException as error:
        show = getattr(error, "show", None)
        show() if show else sys.stderr.write(f"{error.format_message()}\n")
        code = ERROR
    except FleetError as error:
        sys.stderr.write(f"{error}\n")
        code = ERROR
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    sys.exit(code or 0)
