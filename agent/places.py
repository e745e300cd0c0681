"""Where the agent keeps its things on a host, and how it is started afresh.

Job: names of files and folders, the digest of the running release, the command that starts
`fleet-agent` again. Refuses to open anything but RELEASE. Called by client, service, supervise and cli, by
what sets the agent up on a host and by what takes it away; imports next to nothing, because every start of
the client pays for it.
"""

from __future__ import annotations

import os
import sys

RUN = "/run/fleet-agent"
"""Gone at reboot: the socket and the locks."""
STATE = "/var/lib/fleet-agent"
"""Stays: what the host should be, and the log of hosts without a journal."""
INSTALLED = "/opt/fleet-agent"
PROGRAM = INSTALLED + "/current/bin/fleet-agent"
FLEETS = "fleets"
"""Within STATE: a folder for each fleet that the host is in, named after the fleet's id."""
SOCKET = "agent.sock"
"""Within RUN."""
REMEMBERED = ("forwarding", "firewall-*", "netns/*/forwarding", "netns/*/firewall-*")
"""Within RUN: what the host was before us, there only while there is something to undo."""

SUPERVISE = PROGRAM + " supervise"
UNIT_FOLDER = "/etc/systemd/system"
UNIT = "fleet-agent.service"
TUNNEL_UNIT = "fleet-tunnel@.service"
LOCAL_D = "/etc/local.d/fleet-agent.start"
CRON_D = "/etc/cron.d/fleet-agent"
RC_LOCAL = "/etc/rc.local"
BEFORE = STATE + "/before.json"
"""What files of others were before we changed them."""

PUT: dict[str, tuple[str, ...]] = {
    "units": (UNIT, TUNNEL_UNIT),
    "files": (LOCAL_D, CRON_D),
    "lines": (SUPERVISE,),
    "shared": ("/run/wireguard",),
    "folders": (INSTALLED, RUN, STATE),
}
"""Everything that is put on a host, in the order in which it goes; nothing is put there that is not here.

units: in UNIT_FOLDER, and enabled; lines: in RC_LOCAL; shared: folders that others use too, which go where
they are empty; folders: with all that is in them, STATE last, for it says that the host is not done yet.
"""

_UNKNOWN_RELEASE = "0" * 64


def program() -> list[str]:
    """The command that starts `fleet-agent` as it is installed now, also after an upgrade of this one."""
    if _root().startswith(INSTALLED + "/"):
        return [PROGRAM]
    return [sys.executable, "-m", "agent.cli"]


def release() -> str:
    """The digest of the running code as its installer wrote it down, 64 zeros where nobody did."""
    try:
        with open(os.path.join(_root(), "RELEASE"), encoding="ascii") as file:  # noqa: PTH118, PTH123
            return file.read().strip() or _UNKNOWN_RELEASE
    except (OSError, ValueError):
        return _UNKNOWN_RELEASE


def _root() -> str:
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    return os.path.dirname(here)  # noqa: PTH120
