"""Where each kind of key belongs once it is sealed. Pure.

Called by what seals and unseals: `fleet.desired` and `fleet.adoption`.
"""

from __future__ import annotations

from fleet.keys.sealing import Place


def root_place(fleet_id: str) -> Place:
    """The root of a fleet's pre-shared keys."""
    return Place(fleet_id, "", "psk-root", 1)


def key_place(fleet_id: str, host_id: str, generation: int) -> Place:
    """A host's private key."""
    return Place(fleet_id, host_id, "private-key", generation)
