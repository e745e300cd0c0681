"""Where a host's values come from: every variable it has, and what fleet makes of them. Pure.

Called by `fleet inventory`, whose answer this is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleet.errors import Location
from fleet.inventory import connection
from fleet.inventory.model import Host, Inventory
from fleet.inventory.read import Source
from fleet.inventory.tree import Definition
from fleet.inventory.variables import Variables, resolve

HIDDEN = "(hidden)"


@dataclass(frozen=True)
class Value:
    """A value as YAML gave it; `origin` says what set it (`group core`, `fleet.mtu`, `default`)."""

    value: Any
    origin: str
    where: Location | None = None


def host_values(source: Source, inventory: Inventory) -> dict[str, dict[str, Value]]:
    """All values of every host: what fleet uses, then the rest in alphabetical order; passwords hidden."""
    found = {}
    for name, _, variables in resolve(source.tree, source.layers):
        values = _used(inventory, inventory.hosts[name], variables)
        for variable in sorted(variables.keys() - values.keys() - {"fleet"}):
            values[variable] = _set(variables[variable], variable)
        found[name] = values
    return found


def _used(inventory: Inventory, host: Host, variables: Variables) -> dict[str, Value]:
    values: dict[str, Value] = {}
    effective = {
        "fleet_addresses": list(map(str, host.addresses)),
        "fleet_subnets": list(map(str, host.subnets)),
        "fleet_endpoint": host.endpoint,
        "fleet_nat": host.nat,
        "fleet_transit": host.transit,
        "fleet_interface": host.interface,
        "fleet_netns": host.netns,
        "fleet_listen_port": host.listen_port,
        "fleet_mtu": host.mtu,
        "fleet_backend": host.backend,
        "fleet_masquerade": list(host.masquerade),
        "fleet_clamp_mss": host.clamp_mss,
        "fleet_egress": host.egress,
        "fleet_self_heal": host.self_heal,
    }
    for name, value in effective.items():
        key = name.removeprefix("fleet_")
        if name in variables:
            values[name] = Value(value, variables[name].owner, variables[name].where)
        elif key in inventory.places:
            values[name] = Value(value, f"fleet.{key}", inventory.places[key])
        elif name == "fleet_endpoint" and host.endpoint is not None:
            values[name] = _from_login(host, host.endpoint)
        else:
            values[name] = Value(value, "default")
    return values


def _from_login(host: Host, value: str) -> Value:
    for name in reversed(connection.HOST):
        if name in host.places:
            return Value(value, name, host.places[name])
    return Value(value, "the host's name", host.where)


def _set(definition: Definition, name: str) -> Value:
    value = HIDDEN if name in connection.PASSWORDS else definition.read()
    return Value(value, definition.owner, definition.where)
