"""What every host should be, and what has to be remembered for it.

Job: advance a fleet's memory to what the inventory says (host ids, addresses, keys, revisions), compile
the bundles, and hand out the keys that go with them. What is given once stays: the same inventory gives
the same memory and bundles again. Writes nothing anywhere; randomness is given. Called by
`fleet.rollout.intend`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from agent.bundle import Bundle
from agent.secret import KEY_BYTES, Secret, SecretRef, Secrets
from fleet.inventory.model import Inventory
from fleet.keys.make import derive_preshared_key, make_private_key, public_key
from fleet.keys.places import key_place, root_place
from fleet.keys.refs import pair_of
from fleet.keys.sealing import Sealer
from fleet.state.addresses import assign
from fleet.state.memory import HostRecord, Memory
from fleet.topology.compile import compile_bundles
from fleet.topology.identity import Identity

FLEET_ID_BYTES = 16
HOST_ID_BYTES = 8

Random = Callable[[int], bytes]


@dataclass(frozen=True)
class Desired:
    """`memory` is to be saved before any of the `bundles` is delivered.

    `bundles` has every host of the inventory, with its final revision; `previous` what was last meant
    for those that had one; `left` the hosts that were in the inventory the last time and are no more.
    """

    memory: Memory
    bundles: dict[str, Bundle]
    previous: dict[str, Bundle]
    left: tuple[str, ...]
    _sealer_for: Callable[[str], Sealer] = field(repr=False, compare=False)

    def secrets_for(self, host: str) -> Secrets:
        """The keys that a host's bundle names. Raises FleetError where they cannot be unsealed."""
        memory, sealer = self.memory, self._sealer_for(self.memory.fleet_id)
        record = memory.hosts[host]
        root = sealer.unseal(memory.psk_root, root_place(memory.fleet_id))
        private_key = sealer.unseal(
            record.private_key, key_place(memory.fleet_id, record.id, record.generation)
        )
        return Secrets((ref, _secret(ref, private_key, root)) for ref in self.bundles[host].secret_refs())


def _secret(ref: SecretRef, private_key: Secret, root: Secret) -> Secret:
    pair = pair_of(ref)
    return private_key if pair is None else derive_preshared_key(root, pair, ref.generation)


def desire(
    inventory: Inventory,
    memory: Memory | None,
    sealer_for: Callable[[str], Sealer],
    random: Random,
) -> Desired:
    """What `inventory` means for a fleet of which `memory` is known; None makes a new fleet.

    `sealer_for` is asked with the fleet id, only where keys are made or needed; `random` gives n random
    bytes. Raises FleetError where the pools are used up or an address is taken.
    """
    if memory is None:
        memory = _new_memory(inventory, sealer_for, random)
    before = memory
    hosts = _records(inventory, memory, sealer_for, random)
    compiled = compile_bundles(
        inventory,
        {name: _identity(hosts[name]) for name in inventory.hosts},
        memory.fleet_id,
        memory.pair_generation,
    )
    bundles, revision = _with_revisions(compiled, hosts, memory.revision)
    hosts |= {name: replace(hosts[name], bundle=bundle) for name, bundle in bundles.items()}
    return Desired(
        memory=replace(memory, fleet_name=inventory.name, revision=revision, hosts=hosts),
        bundles=bundles,
        previous={
            name: record.bundle
            for name in inventory.hosts
            if (record := before.hosts.get(name)) and record.bundle is not None and not record.retired
        },
        left=tuple(
            name
            for name, record in before.hosts.items()
            if name not in inventory.hosts and not record.retired
        ),
        _sealer_for=sealer_for,
    )


def _new_memory(inventory: Inventory, sealer_for: Callable[[str], Sealer], random: Random) -> Memory:
    fleet_id = random(FLEET_ID_BYTES).hex()
    root = sealer_for(fleet_id).seal(Secret(random(KEY_BYTES)), root_place(fleet_id), random)
    return Memory(fleet_id=fleet_id, fleet_name=inventory.name, revision=0, psk_root=root)


def _records(
    inventory: Inventory, memory: Memory, sealer_for: Callable[[str], Sealer], random: Random
) -> dict[str, HostRecord]:
    """Everyone's record: with keys and addresses for who is in the inventory, retired for who is not.

    A host that comes back gets its addresses back but is a new host otherwise: whoever had its old
    keys in the meantime has nothing.
    """
    addresses = assign(inventory, memory.hosts)
    hosts = {}
    for name, record in memory.hosts.items():
        if name not in inventory.hosts:
            hosts[name] = replace(record, retired=True, addresses=addresses[name])
    for name in inventory.hosts:
        known = memory.hosts.get(name)
        if known is None or known.retired:
            known = _new_record(name, memory, sealer_for(memory.fleet_id), random)
        hosts[name] = replace(known, addresses=addresses[name])
    return hosts


def _new_record(name: str, memory: Memory, sealer: Sealer, random: Random) -> HostRecord:
    host_id = random(HOST_ID_BYTES).hex()
    private_key = make_private_key(random)
    return HostRecord(
        name=name,
        id=host_id,
        addresses=(),
        generation=1,
        public_key=public_key(private_key),
        private_key=sealer.seal(private_key, key_place(memory.fleet_id, host_id, 1), random),
    )


def _identity(record: HostRecord) -> Identity:
    return Identity(record.id, record.addresses, record.public_key, record.generation)


def _with_revisions(
    compiled: Mapping[str, Bundle], hosts: Mapping[str, HostRecord], revision: int
) -> tuple[dict[str, Bundle], int]:
    """Bundles that changed get the next revision, the others keep theirs; and the fleet's revision now."""
    bundles = {}
    changed = False
    for name, bundle in compiled.items():
        last = hosts[name].bundle
        if last is not None and last == replace(bundle, revision=last.revision):
            bundles[name] = last
        else:
            bundles[name] = replace(bundle, revision=revision + 1)
            changed = True
    return bundles, revision + changed
