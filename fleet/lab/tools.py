"""The programs of this machine that a lab is made with: `ip`, `nft` and what they say.

Called by `build` and `lab`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

from fleet.errors import FleetError
from fleet.lab.enter import PATH
from fleet.lab.layout import Layout
from fleet.lab.ranges import Taken

_PACKAGES = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "sshd": "openssh-server",
    "nft": "nftables",
    "sudo": "sudo",
}


def need_root(command: str) -> None:
    """Raises FleetError for anybody but root."""
    if os.geteuid() != 0:
        raise FleetError(f"fleet lab {command} needs root: a lab is made of namespaces. Run it with sudo.")


def need_programs(layout: Layout) -> None:
    """Raises FleetError with the names of the packages that this lab needs and this machine lacks."""
    wanted = {"ip", "nsenter", "sshd"}
    wanted |= {"nft"} if any(node.rules for node in layout.nodes) else set()
    wanted |= {"sudo"} if any(user.sudo for node in layout.nodes for user in node.users) else set()
    missing = sorted(_PACKAGES[name] for name in wanted if shutil.which(name, path=PATH) is None)
    if missing:
        raise FleetError(f"the lab needs packages that are not here: apt-get install {' '.join(missing)}")


def taken(own_interface: str) -> list[Taken]:
    """What this machine uses: addresses, and routes that are no default routes; not those of this lab."""
    found = []
    for link in _ip("address", "show"):
        for info in link.get("addr_info", ()):
            if link["ifname"] != own_interface and "local" in info:
                network = ip_interface(f"{info['local']}/{info['prefixlen']}").network
                found.append(Taken(network, f"address {info['local']} of {link['ifname']}"))
    for family in ("-4", "-6"):
        for route in _ip(family, "route", "show", "table", "all"):
            if route.get("dev") != own_interface and route["dst"] != "default":
                network = ip_network(route["dst"], strict=False)
                through = f" dev {route['dev']}" if "dev" in route else ""
                found.append(Taken(network, f"route {route['dst']}{through}"))
    return [use for use in found if use.network.prefixlen]


def routes_of(interface: str) -> set[str]:
    """Destinations of the routes through an interface of this machine that the kernel did not make itself."""
    rows = [row for family in ("-4", "-6") for row in _ip(family, "route", "show", "dev", interface)]
    return {str(ip_network(row["dst"])) for row in rows if row.get("protocol") != "kernel"}


def interface_exists(name: str) -> bool:
    """Whether this machine has an interface of that name."""
    return any(link["ifname"] == name for link in _ip("link", "show"))


def batch(lines: str, pid: int | None = None, *, force: bool = False) -> None:
    """`ip -batch` here or in the network namespace of `pid`; `force` passes over what does not work."""
    run_all({"": (pid, ["ip", *(["-force"] if force else []), "-batch", "-"], lines)}, force=force)


def run_all(jobs: Mapping[str, tuple[int | None, list[str], str]], *, force: bool = False) -> None:
    """Runs (pid, command, stdin) side by side, by name. Raises FleetError for the first that fails."""
    for names in _chunks(list(jobs), 16):
        started = {}
        for name in names:
            pid, command, text = jobs[name]
            prefix = [] if pid is None else ["nsenter", f"--net=/proc/{pid}/ns/net"]
            process = subprocess.Popen(
                [*prefix, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, "PATH": PATH},
            )
            assert process.stdin is not None
            process.stdin.write(text.encode())
            process.stdin.close()
            process.stdin = None
            started[name] = process
        for name, process in started.items():
            _, complaint = process.communicate()
            if process.returncode and not force:
                reason = " ".join(complaint.decode(errors="replace").split())
                raise FleetError(f"{name or 'lab'}: {jobs[name][1][0]} failed: {reason}")


def _ip(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["ip", "-j", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": PATH},
        check=False,
    )
    if done.returncode:
        raise FleetError(f"ip {' '.join(arguments)} failed: {done.stderr.strip()}")
    rows: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return rows


def _chunks(items: list[str], size: int) -> Iterable[list[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
