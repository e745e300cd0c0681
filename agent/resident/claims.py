"""Whose an interface is, for programs beside the resident agent.

Job: say which fleet of this host has an interface, by what the fleets keep. Refuses to change anything, and
to ask the agent, which may not run. Called by quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from agent import places
from agent.resident.store import Store


def claimant(interface: str, state: Path = Path(places.STATE)) -> Optional[str]:
    """The name of the fleet that has the interface, or had it and may still; None for no fleet.

    In whatever namespace: control sockets of tunnels bear the name alone.
    Raises StoreError where a fleet's folder cannot be read, so that nobody knows.
    """
    for folder in sorted((state / places.FLEETS).glob("*")):
        contents = Store(folder).load()
        bundle = contents.bundle
        named = () if bundle is None else tuple(one.name for one in bundle.interfaces)
        if interface in {*(place.interface for place in contents.interfaces), *named}:
            return folder.name if bundle is None else bundle.fleet_name
    return None
