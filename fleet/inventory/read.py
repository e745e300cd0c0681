"""An inventory file to a typed Inventory, and everything that is wrong with it.

Job: the order of the steps. What needs the graph of links is checked by the topology, see `fleet.intent`.
Called by `fleet.intent`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from fleet.errors import Finding, Location
from fleet.inventory import checks
from fleet.inventory.document import read_document
from fleet.inventory.hosts import HostReader
from fleet.inventory.model import Host, Inventory
from fleet.inventory.rules import RuleReader
from fleet.inventory.settings import FleetSettings
from fleet.inventory.structure import read_structure
from fleet.inventory.tree import ALL, Definition, Tree
from fleet.inventory.typed import fleet_settings
from fleet.inventory.variables import Layers, definitions, read_layers, resolve

FLEET = "fleet"
EXTENSIONS = ("", ".yml", ".yaml", ".json")


@dataclass(frozen=True)
class Source:
    """The files as they were read, before anything was made of them."""

    tree: Tree
    layers: Layers


@dataclass(frozen=True)
class Reading:
    """What came of reading an inventory.

    With findings, the inventory is as much as could be understood, good enough for further checks and
    for nothing else; it and the source are None where the file is no YAML. `linked` says whether its
    rules are all there, so that a graph can be made of them.
    """

    source: Source | None
    inventory: Inventory | None
    findings: list[Finding]
    linked: bool = False


def read(file: Path) -> tuple[Inventory | None, list[Finding]]:
    """The inventory in `file` and what is wrong with it, see Reading."""
    reading = read_all(file)
    return reading.inventory, reading.findings


def read_all(file: Path) -> Reading:
    """The inventory in `file`, what it was made from, and what is wrong with it."""
    findings: list[Finding] = []
    source = read_source(file, findings)
    if source is None:
        return Reading(None, None, findings)
    tree = source.tree
    definition = _fleet(source, findings)
    settings = fleet_settings(definition, findings) if definition else FleetSettings()
    hosts = _hosts(source, settings, findings)
    if not hosts and not findings:
        findings.append(Finding(_start(file), "no host: put one below `hosts:` of a group"))
    groups = {name: tree.members(name) for name in tree.groups}
    rules = RuleReader(groups, list(hosts), findings).read(definition)
    inventory = Inventory(
        file=file,
        name=settings.name,
        pools=tuple(settings.pools),
        rules=rules or (),
        hosts=hosts,
        where=definition.document.at(definition.key) if definition else _start(file),
        groups=groups,
        places=_places(definition),
    )
    findings += checks.check(inventory)
    return Reading(source, inventory, findings, linked=rules is not None)


def read_source(file: Path, findings: list[Finding]) -> Source | None:
    """The inventory's own file and those beside it; None with a finding where the former is no YAML."""
    if file.is_dir():
        findings.append(Finding(_start(file), "a folder: name the inventory file in it"))
        return None
    if file.suffix not in EXTENSIONS:
        message = "an inventory is YAML and its name ends in .yml, .yaml or .json"
        findings.append(
            Finding(_start(file), f"{message}: ansible-inventory -i FILE --list --yaml converts others")
        )
        return None
    document = read_document(file, findings)
    if document is None:
        return None
    tree = read_structure(document, findings)
    return Source(tree, read_layers(tree, findings))


def _fleet(source: Source, findings: list[Finding]) -> Definition | None:
    """The definition of `fleet` that counts; elsewhere than on `all` it is a finding."""
    tree, layers = source.tree, source.layers
    for name, definition in definitions(tree, layers):
        if name == FLEET and definition.owner != ALL:
            message = f"fleet: on {definition.owner}; it belongs to the whole fleet, in the vars of `all`"
            findings.append(Finding(definition.document.at(definition.key), message))
    found = layers.groups.get(ALL, {}).get(FLEET) or tree.groups[ALL].variables.get(FLEET)
    if found is None and not findings:
        message = "fleet: missing; put the dictionary `fleet` with name and pools in the vars of `all`"
        findings.append(Finding(_start(tree.document.file), message))
    return found


def _hosts(source: Source, settings: FleetSettings, findings: list[Finding]) -> dict[str, Host]:
    reader = HostReader(settings, findings)
    for name, definition in definitions(source.tree, source.layers):
        if name.startswith("fleet_"):
            reader.check(name, definition)
    return {
        name: reader.host(name, source.tree.hosts[name].where, groups, variables)
        for name, groups, variables in resolve(source.tree, source.layers)
    }


def _places(definition: Definition | None) -> dict[str, Location]:
    if definition is None or not isinstance(definition.value, yaml.MappingNode):
        return {}
    document, found = definition.document, {}
    for key, value in document.pairs(definition.value):
        name = str(document.key(key))
        found[name] = document.at(value)
        if isinstance(value, yaml.SequenceNode):
            for index, item in enumerate(value.value):
                found[f"{name}[{index}]"] = document.at(item)
    return found


def _start(file: Path) -> Location:
    return Location(file, 1, 1)
