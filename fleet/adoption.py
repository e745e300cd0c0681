"""A fleet's memory rebuilt from what its hosts hold, for who lost the state.

Job: take host ids, private keys, addresses and the revision from reports and secrets. These come from
hosts and are checked here. Writes nothing; randomness is given. Called by
`fleet.rollout.intend`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_interface

from agent.report import ObservedInterface, Report
from agent.secret import KEY_BYTES, Secret, SecretRef, Secrets
from fleet.errors import FleetError
from fleet.inventory.model import Address, Inventory
from fleet.keys.make import public_key
from fleet.keys.places import key_place, root_place
from fleet.keys.refs import host_of, pair_of
from fleet.keys.sealing import Sealer
from fleet.state.memory import HostRecord, Memory

_HOST_ID = re.compile(r"[0-9a-f]{16}")
_PAIR = re.compile(r"[0-9a-f]{16}~[0-9a-f]{16}")


def adopt(
    inventory: Inventory,
    reports: Mapping[str, Report],
    secrets: Mapping[str, Secrets],
    sealer: Sealer,
    random: Callable[[int], bytes],
) -> Memory:
    """The memory of the one fleet that `reports`, by host name, are of; to be advanced by `desire`.

    A host without a report, without its private key in `secrets`, or with a copy of another's key gets
    a new key and address from `desire`. Pre-shared keys get a new root, and pairs that had one a
    generation above it. Raises FleetError where the reports are of no fleet or of several.
    """
    fleets = {report.fleet for report in reports.values() if report.fleet is not None}
    if len(fleets) != 1:
        raise FleetError(
            f"The hosts belong to {len(fleets)} fleets; only where they belong to one can it be adopted"
        )
    (fleet_id,) = fleets
    members = {
        name: reports[name] for name in inventory.hosts if name in reports and reports[name].fleet == fleet_id
    }
    hosts: dict[str, HostRecord] = {}
    ids: set[str] = set()
    taken: set[Address] = set()
    for name in sorted(members, key=lambda name: members[name].host != name):
        found = _identity(members[name], secrets.get(name, Secrets()), inventory.hosts[name].interface)
        if found is None or found[0] in ids:
            continue
        host_id, ref, key, interface = found
        addresses = tuple(a for a in dict.fromkeys(_addresses(interface)) if a not in taken)
        ids.add(host_id)
        taken.update(addresses)
        sealed = sealer.seal(key, key_place(fleet_id, host_id, ref.generation), random)
        hosts[name] = HostRecord(name, host_id, addresses, ref.generation, public_key(key), sealed)
    return Memory(
        fleet_id=fleet_id,
        fleet_name=inventory.name,
        revision=max(report.revision or 0 for report in members.values()),
        psk_root=sealer.seal(Secret(random(KEY_BYTES)), root_place(fleet_id), random),
        hosts=hosts,
        pair_generations=_generations(secrets),
    )


def _identity(
    report: Report, secrets: Secrets, name: str
) -> tuple[str, SecretRef, Secret, ObservedInterface] | None:
    """Host id, private key and the interface that has it, that of the inventory's name first."""
    for interface in sorted(report.observed.interfaces, key=lambda interface: interface.name != name):
        ref = interface.private_key
        if ref is None or ref not in secrets:
            continue
        host_id = host_of(ref)
        if host_id is not None and _HOST_ID.fullmatch(host_id):
            return host_id, ref, secrets[ref], interface
    return None


def _addresses(interface: ObservedInterface) -> Iterator[Address]:
    for text in interface.addresses:
        address = ip_interface(text).ip
        if not address.is_link_local:
            yield address


def _generations(secrets: Mapping[str, Secrets]) -> dict[str, int]:
    generations: dict[str, int] = {}
    for ref in (ref for held in secrets.values() for ref in held):
        pair = pair_of(ref)
        if pair is not None and _PAIR.fullmatch(pair):
            generations[pair] = max(generations.get(pair, 1), ref.generation + 1)
    return generations
