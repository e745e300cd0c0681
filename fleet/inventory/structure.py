"""An inventory document to a Tree, as Ansible's plugin for YAML inventories reads it.

Stricter than Ansible where that only warns: what it would skip is a finding. Called by `read`.
"""

from __future__ import annotations

import re

import yaml

from fleet.errors import Finding, Location
from fleet.inventory.document import CORE_TAG, Document, Pairs
from fleet.inventory.not_yaml import INI_CURE, looks_like_ini
from fleet.inventory.ranges import expand
from fleet.inventory.suggest import suggestion
from fleet.inventory.tree import ALL, SECTIONS, UNGROUPED, Definition, Group, Tree, TreeHost
from fleet.inventory.values import describe

_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def read_structure(document: Document, findings: list[Finding]) -> Tree:
    """The tree of a document; whatever is wrong goes to `findings` and is left out."""
    tree = Tree(document)
    root = document.root
    reader = _Reader(tree, document, findings)
    start = reader.start
    for name in (ALL, UNGROUPED):
        tree.add_group(name, start)
    tree.add_child(ALL, UNGROUPED)
    if root is None or not isinstance(root, yaml.MappingNode):
        is_ini = looks_like_ini(document.text)
        found = "the file is empty" if root is None else "not a mapping of groups"
        findings.append(Finding(start, INI_CURE if is_ini else f"{found}: an inventory begins with `all:`"))
    else:
        for key, value in document.pairs(root, findings):
            if key.value == "plugin":
                findings.append(document.finding(key, "a plugin's configuration, not an inventory"))
            else:
                reader.group(key, value)
    tree.settle(findings)
    return tree


class _Reader:
    def __init__(self, tree: Tree, document: Document, findings: list[Finding]) -> None:
        self._tree = tree
        self._document = document
        self._findings = findings
        self.start = Location(document.file, 1, 1)

    def group(self, key: yaml.Node, value: yaml.Node) -> str | None:
        name = self._name(key, "group")
        if name is None:
            return None
        if not _GROUP.fullmatch(name):
            self._report(key, f"group {name!r}: expected letters, digits, _, - and dots")
            return None
        group = self._tree.add_group(name, self._document.at(key))
        for section, content in self._sections(key, value, name):
            if section.value == "vars":
                self._group_variables(group, content)
            elif section.value == "children":
                self._children(group, content)
            elif section.value == "hosts":
                self._hosts(group, content)
            else:
                self._unknown_section(section, name)
        return name

    def _sections(self, key: yaml.Node, value: yaml.Node, name: str) -> Pairs:
        if _is_null(value):
            return []
        if not isinstance(value, yaml.MappingNode):
            self._report(key, f"group {name!r}: expected a mapping of hosts, children and vars")
            return []
        return self._document.pairs(value, self._findings)

    def _unknown_section(self, section: yaml.Node, group: str) -> None:
        word = str(self._document.key(section))
        if word == "fleet" or word.startswith(("fleet_", "ansible_")):
            cure = f": a variable goes below `vars:` of {group!r}"
        else:
            cure = suggestion(word, SECTIONS) or ": a group has hosts, children and vars"
        self._report(section, f"unknown key {word!r} in group {group!r}{cure}")

    def _group_variables(self, group: Group, node: yaml.Node) -> None:
        owner = ALL if group.name == ALL else f"group {group.name}"
        for definition in self._variables(node, owner, f"vars of group {group.name!r}"):
            name = str(definition.key.value)
            if name != "ansible_group_priority":
                group.variables[name] = definition
                continue
            try:
                group.priority = int(definition.read())
            except (TypeError, ValueError):
                self._findings.append(
                    Finding(definition.where, "ansible_group_priority: expected a whole number")
                )

    def _children(self, group: Group, node: yaml.Node) -> None:
        for key, value in self._entries(node, f"children of group {group.name!r}"):
            child = self.group(key, value)
            if child is None:
                continue
            if UNGROUPED in (child, group.name) and group.name != ALL:
                self._report(
                    key, f"the group {UNGROUPED!r} has hosts and vars only, and is below {ALL!r} only"
                )
            elif not self._tree.add_child(group.name, child):
                self._report(key, f"group {child!r} below {group.name!r} closes a loop of groups")

    def _hosts(self, group: Group, node: yaml.Node) -> None:
        for key, value in self._entries(node, f"hosts of group {group.name!r}"):
            text = self._name(key, "host")
            if text is None:
                continue
            try:
                names, port = expand(text)
            except ValueError as error:
                self._report(key, str(error))
                continue
            for name in names:
                host = self._tree.hosts.get(name)
                if host is None:
                    host = self._tree.hosts[name] = TreeHost(name, self._document.at(key))
                    if port is not None:
                        definition = Definition(self._document, key, None, f"host {name}", port)
                        host.variables["ansible_port"] = definition
                group.hosts[name] = None
            self._host_variables(names, value)

    def _host_variables(self, names: list[str], node: yaml.Node) -> None:
        what = f"host {names[0]}" if len(names) == 1 else f"hosts {names[0]} to {names[-1]}"
        for definition in self._variables(node, what, f"host {names[0]!r}"):
            for name in names:
                self._tree.hosts[name].variables[str(definition.key.value)] = definition

    def _variables(self, node: yaml.Node, owner: str, what: str) -> list[Definition]:
        if _is_null(node):
            return []
        if not isinstance(node, yaml.MappingNode):
            self._report(node, f"{what}: expected a mapping of variables")
            return []
        return variables(self._document, node, owner, self._findings)

    def _entries(self, node: yaml.Node, what: str) -> Pairs:
        """Names below `hosts` or `children`; a single name may stand for itself."""
        if _is_null(node):
            return []
        if isinstance(node, yaml.ScalarNode) and node.tag == CORE_TAG + "str":
            return [(node, yaml.ScalarNode(CORE_TAG + "null", "", node.end_mark, node.end_mark))]
        if not isinstance(node, yaml.MappingNode):
            self._report(node, f"{what}: expected a mapping, a name and a colon on each line")
            return []
        return self._document.pairs(node, self._findings)

    def _name(self, key: yaml.Node, what: str) -> str | None:
        value = self._document.key(key)
        if isinstance(value, str) and value:
            return value
        source = self._document.source(key)
        meant = f"YAML reads {source} as {describe(value)}; quote it: '{source}'"
        self._report(key, f"a {what}'s name is text, and {meant}")
        return None

    def _report(self, node: yaml.Node, message: str) -> None:
        self._findings.append(self._document.finding(node, message))


def variables(
    document: Document, node: yaml.MappingNode, owner: str, findings: list[Finding]
) -> list[Definition]:
    """The variables of a mapping in one place."""
    found = []
    for key, value in document.pairs(node, findings):
        if isinstance(document.key(key), str):
            found.append(Definition(document, key, value, owner))
        else:
            findings.append(document.finding(key, f"a variable's name is text, not {document.source(key)}"))
    return found


def _is_null(node: yaml.Node) -> bool:
    return node.tag == CORE_TAG + "null"
