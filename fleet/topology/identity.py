"""What the topology needs to know of a host that the inventory does not say.

Called by `fleet.topology.compile`; made by `fleet.desired` from the state.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.inventory.model import Address


@dataclass(frozen=True)
class Identity:
    """One host as its peers know it.

    `id` is random and for life, `addresses` are the host's own in the overlay (the first of a family
    is the one that its packets carry), `public_key` is base64, `generation` counts its keys from 1.
    """

    id: str
    addresses: tuple[Address, ...]
    public_key: str
    generation: int
