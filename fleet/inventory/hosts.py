"""A host's variables to a typed Host. Called by `read`, for one host after the other."""

from __future__ import annotations

from typing import Any

import yaml

from agent.bundle import join_endpoint
from fleet.errors import Finding, Location
from fleet.inventory import connection
from fleet.inventory.connection import ConnectionReader
from fleet.inventory.model import Connection, Host
from fleet.inventory.settings import FleetSettings, HostSettings
from fleet.inventory.tree import Definition
from fleet.inventory.typed import HOST_VARIABLES, host_variable
from fleet.inventory.values import endpoint_host

_PLACED = (*HOST_VARIABLES, *connection.READ)


class HostReader:
    """Makes hosts; a definition that many hosts share is read, and refused, once."""

    def __init__(self, fleet: FleetSettings, findings: list[Finding]) -> None:
        self._fleet = fleet
        self._findings = findings
        self._read: dict[int, HostSettings | None] = {}

    def check(self, name: str, definition: Definition) -> HostSettings | None:
        """A `fleet_` variable's definition, read; None where it was refused."""
        if id(definition) not in self._read:
            self._read[id(definition)] = host_variable(name, definition, self._findings)
        return self._read[id(definition)]

    def host(self, name: str, where: Location, groups: list[str], variables: dict[str, Definition]) -> Host:
        """The host of that name, with defaults where a variable was refused."""
        found: dict[str, Any] = {}
        for variable in HOST_VARIABLES:
            definition = variables.get(variable)
            settings = self.check(variable, definition) if definition else None
            if settings is not None:
                found[variable] = getattr(settings, variable)
        settings = HostSettings.model_construct(**found)
        reader = ConnectionReader(variables, self._findings)
        login = reader.read(name)
        port = settings.fleet_listen_port or self._fleet.listen_port
        endpoint = settings.fleet_endpoint
        if endpoint is None and "fleet_endpoint" in variables:
            endpoint = join_endpoint(name, port)  # refused; what follows must not take the host for NATed
        elif endpoint is None and not settings.fleet_nat:
            endpoint = self._endpoint(name, where, login, reader.defined(connection.HOST), port)
        return Host(
            name=name,
            groups=tuple(sorted(groups)),
            connection=login,
            addresses=tuple(settings.fleet_addresses),
            subnets=tuple(settings.fleet_subnets),
            endpoint=endpoint,
            nat=settings.fleet_nat,
            transit=settings.fleet_transit,
            interface=settings.fleet_interface or self._fleet.interface,
            listen_port=port,
            mtu=settings.fleet_mtu or self._fleet.mtu,
            backend=settings.fleet_backend,
            self_heal=settings.fleet_self_heal,
            where=where,
            places=_places(variables),
            masquerade=tuple(settings.fleet_masquerade),
            clamp_mss=settings.fleet_clamp_mss,
            egress=settings.fleet_egress,
            netns=settings.fleet_netns,
        )

    def _endpoint(
        self, name: str, where: Location, login: Connection, set_by: Definition | None, port: int
    ) -> str:
        """ansible_host, or the host's name, and the listen port."""
        cure = "set fleet_endpoint to HOST:PORT, or fleet_nat: true if nobody can call it"
        place = set_by.where if set_by else where
        if login.kind == "local" and set_by is None:
            message = f"host {name!r} is the controller's own machine, so other hosts need an address: {cure}"
            self._findings.append(Finding(place, message))
            return join_endpoint(name, port)
        try:
            return join_endpoint(endpoint_host(login.host), port)
        except ValueError as error:
            what = str(set_by.key.value) if set_by else f"host {name!r}"
            self._findings.append(Finding(place, f"{what}: {error}; {cure}"))
            return join_endpoint(name, port)


def _places(variables: dict[str, Definition]) -> dict[str, Location]:
    found = {}
    for name in _PLACED:
        definition = variables.get(name)
        if definition is None:
            continue
        found[name] = definition.where
        if isinstance(definition.value, yaml.SequenceNode):
            for index, item in enumerate(definition.value.value):
                found[f"{name}[{index}]"] = definition.document.at(item)
    return found
