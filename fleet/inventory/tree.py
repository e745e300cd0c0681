"""Hosts and groups as an Ansible YAML inventory declares them: who is in what, which variable is set where.

Job: the structure of the file (groups with vars, children, hosts; a group may appear in several places)
and of the groups (parents, depth, order). Refuses to know what variables mean and which of them wins.
Called by `variables` and `read`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from fleet.errors import Finding, Location
from fleet.inventory.document import Document

ALL = "all"
UNGROUPED = "ungrouped"
SECTIONS = ("vars", "children", "hosts")


@dataclass(frozen=True, eq=False)
class Definition:
    """One variable set in one place; `owner` is `all`, `group core` or `host fra1`.

    `value` is None for a port written into a host's key, which `plain` then holds.
    """

    document: Document
    key: yaml.Node
    value: yaml.Node | None
    owner: str
    plain: Any = None

    @property
    def where(self) -> Location:
        """The value's place, the key's where nothing was written."""
        empty = self.value is None or self.value.start_mark.index == self.value.end_mark.index
        return self.document.at(self.key if empty or self.value is None else self.value)

    def read(self) -> Any:
        """The value as plain Python values."""
        return self.plain if self.value is None else self.document.plain(self.value)


@dataclass(eq=False)
class Group:
    """A group: its own hosts in order of appearance, its edges to other groups, and its own variables."""

    name: str
    where: Location
    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    parents: dict[str, None] = field(default_factory=dict)
    variables: dict[str, Definition] = field(default_factory=dict)
    priority: int = 1
    depth: int = 0


@dataclass(eq=False)
class TreeHost:
    """A host where it first appears, and the variables set inline wherever it appears."""

    name: str
    where: Location
    variables: dict[str, Definition] = field(default_factory=dict)


@dataclass
class Tree:
    """All of an inventory file; in order of appearance, but `all` and `ungrouped` are the first groups."""

    document: Document
    groups: dict[str, Group] = field(default_factory=dict)
    hosts: dict[str, TreeHost] = field(default_factory=dict)

    def ancestors(self, name: str) -> set[str]:
        """Every group above a group."""
        found: set[str] = set()
        waiting = list(self.groups[name].parents)
        while waiting:
            parent = waiting.pop()
            if parent not in found:
                found.add(parent)
                waiting += self.groups[parent].parents
        return found

    def memberships(self) -> dict[str, set[str]]:
        """Every group of every host, those above its own included."""
        found: dict[str, set[str]] = {name: set() for name in self.hosts}
        for name, group in self.groups.items():
            above = self.ancestors(name) | {name} if group.hosts else set()
            for host in group.hosts:
                found[host] |= above
        return found

    def members(self, name: str) -> tuple[str, ...]:
        """The hosts of a group and of those below it, level by level, as Ansible counts them."""
        order: dict[str, None] = {}
        level, seen = [name], {name}
        while level:
            for group in level:
                order |= self.groups[group].hosts
            below = dict.fromkeys(child for group in level for child in self.groups[group].children)
            level = [child for child in below if child not in seen]
            seen.update(level)
        return tuple(order)

    def add_group(self, name: str, where: Location) -> Group:
        """The group of that name, new or not."""
        return self.groups.setdefault(name, Group(name, where))

    def add_child(self, parent: str, child: str) -> bool:
        """Puts a group below another; False, and nothing done, where that would close a loop."""
        if child == parent or child in self.ancestors(parent):
            return False
        self.groups[parent].children.setdefault(child)
        self.groups[child].parents.setdefault(parent)
        return True

    def settle(self, findings: list[Finding]) -> None:
        """The last step, as in Ansible: top groups go below `all`, lone hosts into `ungrouped`."""
        for name, group in self.groups.items():
            if name != ALL and not group.parents:
                self.add_child(ALL, name)
            if name in self.hosts:
                where = self.hosts[name].where
                findings.append(Finding(where, f"{name!r} is a group and a host: rename one of them"))
        ungrouped = self.groups[UNGROUPED]
        for host, groups in self.memberships().items():
            if groups - {ALL, UNGROUPED}:
                ungrouped.hosts.pop(host, None)
            elif UNGROUPED not in groups:
                ungrouped.hosts[host] = None
        self._measure()

    def _measure(self) -> None:
        """Depth: the longest way down from `all`."""
        waiting = {name: len(group.parents) for name, group in self.groups.items()}
        ready = [name for name, count in waiting.items() if count == 0]
        while ready:
            group = self.groups[ready.pop()]
            for name in group.children:
                child = self.groups[name]
                child.depth = max(child.depth, group.depth + 1)
                waiting[name] -= 1
                if waiting[name] == 0:
                    ready.append(name)
