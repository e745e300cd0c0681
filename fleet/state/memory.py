"""What is remembered of a fleet between runs, as values. Pure.

Keys are in it sealed, as bytes. Refuses to know where it is kept. Called by `fleet.desired`, which
advances it, and `fleet.state.store`, which keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.bundle import Bundle
from fleet.inventory.model import Address


@dataclass(frozen=True)
class HostRecord:
    """One host, also after it left the inventory (`retired`): its addresses stay reserved.

    `id` is 16 hexadecimal digits; `generation` counts the host's keys from 1; `private_key` is sealed;
    `bundle` is what was last meant for the host, with its revision, None before the first.
    """

    name: str
    id: str
    addresses: tuple[Address, ...]
    generation: int
    public_key: str
    private_key: bytes = field(repr=False)
    bundle: Bundle | None = None
    retired: bool = False


@dataclass(frozen=True)
class Memory:
    """One fleet. `fleet_id` is 32 hexadecimal digits, `revision` 0 before the first bundle.

    `psk_root`, sealed, is what pre-shared keys are derived from; `pair_generations` has the pairs
    (`keys.refs.pair_id`) whose key is not of generation 1.
    """

    fleet_id: str
    fleet_name: str
    revision: int
    psk_root: bytes = field(repr=False)
    hosts: Mapping[str, HostRecord] = field(default_factory=dict)
    pair_generations: Mapping[str, int] = field(default_factory=dict)

    def pair_generation(self, pair: str) -> int:
        """The generation of a pair's pre-shared key."""
        return self.pair_generations.get(pair, 1)
