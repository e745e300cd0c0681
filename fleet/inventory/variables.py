"""Which value of a variable a host gets: Ansible's precedence, with group_vars/ and host_vars/.

Weakest first (Ansible's VARIABLE_PRECEDENCE): `all`'s vars, groups' vars, group_vars/all, group_vars of
groups, the host's own vars, host_vars. Among groups the deeper wins, then the higher
ansible_group_priority, then the later in the alphabet. Called by `read` and the views' data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from fleet.errors import Finding, Location
from fleet.inventory.document import read_document
from fleet.inventory.structure import variables
from fleet.inventory.tree import ALL, Definition, Tree

EXTENSIONS = ("", ".yml", ".yaml", ".json")
_VAULT = b"$ANSIBLE_VAULT"

Variables = dict[str, Definition]


@dataclass
class Layers:
    """What the files beside the inventory set, a group or host; `sealed` are encrypted files, left unread."""

    groups: dict[str, Variables] = field(default_factory=dict)
    hosts: dict[str, Variables] = field(default_factory=dict)
    sealed: list[Path] = field(default_factory=list)


def read_layers(tree: Tree, findings: list[Finding]) -> Layers:
    """group_vars/ and host_vars/ beside the inventory, for the groups and hosts that exist."""
    layers = Layers()
    folder = tree.document.file.parent
    for kind, names, found in (
        ("group", tree.groups, layers.groups),
        ("host", tree.hosts, layers.hosts),
    ):
        place = folder / f"{kind}_vars"
        if not place.is_dir():
            continue
        present = {entry.name for entry in place.iterdir()}
        for name in names:
            owner = ALL if (kind, name) == ("group", ALL) else f"{kind} {name}"
            for file in _files(place, name, present):
                found.setdefault(name, {}).update(_read(file, owner, layers, findings))
    return layers


def resolve(tree: Tree, layers: Layers) -> Iterator[tuple[str, list[str], Variables]]:
    """Every host in order, with its groups in order of precedence (`all` left out) and its variables."""
    none: Variables = {}
    memberships = tree.memberships()
    for name, host in tree.hosts.items():
        groups = sort_groups(tree, memberships[name])
        merged = dict(tree.groups[ALL].variables)
        for group in groups:
            merged |= tree.groups[group].variables
        merged |= layers.groups.get(ALL, none)
        for group in groups:
            merged |= layers.groups.get(group, none)
        merged |= host.variables
        merged |= layers.hosts.get(name, none)
        yield name, groups, merged


def sort_groups(tree: Tree, names: Iterable[str]) -> list[str]:
    """Groups, the weakest first."""
    return sorted(
        (name for name in names if name != ALL),
        key=lambda name: (tree.groups[name].depth, tree.groups[name].priority, name),
    )


def definitions(tree: Tree, layers: Layers) -> Iterator[tuple[str, Definition]]:
    """Every variable set anywhere, whether it wins or not."""
    for group in tree.groups.values():
        yield from group.variables.items()
    for host in tree.hosts.values():
        yield from host.variables.items()
    for layer in (layers.groups, layers.hosts):
        for found in layer.values():
            yield from found.items()


def _files(place: Path, name: str, present: set[str]) -> list[Path]:
    """The files for a group or host: the first of NAME (a folder, maybe), NAME.yml, NAME.yaml, NAME.json."""
    for extension in EXTENSIONS:
        if name + extension in present:
            file = place / (name + extension)
            return _walk(file) if file.is_dir() else [file]
    return []


def _walk(folder: Path) -> list[Path]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name.endswith("~"):
            continue
        if entry.is_dir() and not entry.suffix:
            found += _walk(entry)
        elif entry.is_file() and entry.suffix in EXTENSIONS:
            found.append(entry)
    return found


def _read(file: Path, owner: str, layers: Layers, findings: list[Finding]) -> Variables:
    try:
        with file.open("rb") as stream:
            sealed = stream.read(len(_VAULT)) == _VAULT
    except OSError as error:
        findings.append(Finding(Location(file, 1, 1), f"cannot be read: {error.strerror}"))
        return {}
    if sealed:
        layers.sealed.append(file)
        return {}
    document = read_document(file, findings)
    if document is None or document.root is None:
        return {}
    if not isinstance(document.root, yaml.MappingNode):
        findings.append(Finding(Location(file, 1, 1), "expected a mapping of variables"))
        return {}
    found = variables(document, document.root, owner, findings)
    return {str(definition.key.value): definition for definition in found}
