"""`fleet lab`: the hosts of an inventory, real ones, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.options import Json

app = typer.Typer(
    help="Real hosts on this machine: a namespace and an OpenSSH server each, NAT, clients behind subnets.",
    epilog="Example: fleet lab up inventory.yml && fleet apply inventory.yml",
    no_args_is_help=True,
    rich_markup_mode=None,
)
File = Annotated[Path, typer.Argument(metavar="INVENTORY", help="The inventory file.")]


@app.command(epilog="Example: fleet lab up inventory.yml")
def up(inventory: File) -> None:
    """Make the inventory's hosts, or what is missing of them. Needs root.

    Every host gets its ansible_host address, which must be private or of a documentation range. Hosts behind
    NAT get a router, subnets a client: HOST/client, HOST/client2 ... Hosts keep their files over a reboot.
    """
    import time

    from fleet.intent import load
    from fleet.lab import lab
    from fleet.views import lab as view

    start = time.monotonic()
    made, built = lab.up(load(inventory))
    view.show_up(made, built, time.monotonic() - start, inventory)


@app.command(epilog="Example: fleet lab down inventory.yml")
def down(inventory: File) -> None:
    """Take the lab away, with everything in its hosts. Needs root."""
    from fleet.errors import FleetError
    from fleet.inventory.read import read
    from fleet.lab import lab, record
    from fleet.views import lab as view

    if record.find(inventory) is not None:
        view.show_down(lab.down(lab.find_lab(inventory)))
        return
    fleet, findings = read(inventory)
    if fleet is None:
        raise FleetError(f"{inventory}: no lab was made from this, and it is no inventory: {findings[0]}")
    view.show_down(lab.down_without_record(fleet))


@app.command("list", epilog="Example: fleet lab list inventory.yml --json")
def list_(inventory: File, json: Json = False) -> None:
    """Show the lab's hosts, where they are reached, and the clients behind them."""
    from fleet.intent import load
    from fleet.lab import lab, record
    from fleet.views import lab as view

    found = lab.find_lab(inventory) if record.find(inventory) is not None else lab.planned(load(inventory))
    states = lab.states(found.layout)
    if json:
        view.show_states_json(found, states)
    else:
        view.show_states(found, states)


@app.command(epilog="Example: fleet lab reboot inventory.yml oslo")
def reboot(
    inventory: File,
    hosts: Annotated[
        list[str] | None, typer.Argument(metavar="HOST", help="Which; all hosts where none is named.")
    ] = None,
) -> None:
    """Reboot hosts: all processes, tunnels and /run are gone, files stay, then they boot. Needs root."""
    from fleet.lab import lab
    from fleet.views import lab as view

    view.show_rebooted(lab.reboot(lab.find_lab(inventory), hosts or []))


@app.command(
    "exec",
    context_settings={"allow_interspersed_args": False},
    epilog="Example: fleet lab exec inventory.yml oslo/client -- ping -c 3 192.168.30.2",
)
def exec_(
    inventory: File,
    host: Annotated[str, typer.Argument(metavar="HOST", help="A host, or HOST/client, HOST/router.")],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- COMMAND", help="A shell where none is given.")
    ] = None,
) -> None:
    """Run a command inside a host, as root; its exit code is handed back. Needs root."""
    import os

    from fleet.lab import lab
    from fleet.lab.enter import PATH, run

    pid = lab.pid_of(lab.find_lab(inventory), host)
    environ = {
        name: os.environ[name] for name in ("TERM", "LANG", "LC_ALL", "COLORTERM") if name in os.environ
    }
    environ |= {"PATH": PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash"}
    words = (command or [])[1:] if (command or [])[:1] == ["--"] else command or []
    raise typer.Exit(run(pid, words or ["/bin/bash", "-l"], environ))
