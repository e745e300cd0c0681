"""Opens the way to a host that its inventory asks for. Called by rollout."""

from __future__ import annotations

import getpass
import os
from dataclasses import replace
from pathlib import Path

from fleet.inventory.model import Host
from fleet.transport.base import Access, Transport, TransportError
from fleet.transport.sudo import Escalation, escalation


def open_transport(host: Host, access: Access | None, timeout: float) -> Transport:
    """A transport to `host`, connected and logged in within `timeout` seconds.

    `access` is a lab's own key and known_hosts; with it, nothing of the user's SSH set-up counts.
    Raises TransportError.
    """
    connection = host.connection
    if connection.kind == "local":
        from fleet.transport.local import LocalTransport

        user = "root" if os.geteuid() == 0 else getpass.getuser()
        local = replace(_escalate(host, user), password=None)
        return LocalTransport(host.name, local, timeout)

    from fleet.transport import settings, ssh

    home = Path.home()
    try:
        if access is not None:
            found, jumps = settings.for_lab(connection, access.key_file, access.known_hosts), []
        else:
            text = settings.read_config(home)
            found = settings.resolve(connection, text, home)
            jumps = [settings.resolve_jump(hop, text, home) for hop in found.jumps]
    except settings.SettingsError as error:
        raise TransportError(host.name, "unreachable", str(error)) from None
    return ssh.connect(host.name, found, jumps, _escalate(host, found.user), timeout)


def _escalate(host: Host, user: str) -> Escalation:
    connection = host.connection
    found = escalation(user, connection.become, connection.become_user, connection.become_password)
    if isinstance(found, str):
        raise TransportError(host.name, "failed", found)
    return found
