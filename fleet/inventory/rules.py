"""The topology's rules, their patterns resolved to hosts. Called by `read`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from fleet.errors import Finding
from fleet.inventory.document import Document
from fleet.inventory.model import HubRule, LinkRule, MeshRule, Rule
from fleet.inventory.patterns import match
from fleet.inventory.settings import RuleSettings
from fleet.inventory.tree import Definition
from fleet.inventory.typed import rule

TOPOLOGY = "fleet.topology"


class RuleReader:
    """Reads rules against the groups and hosts that there are."""

    def __init__(
        self, groups: Mapping[str, Sequence[str]], hosts: Sequence[str], findings: list[Finding]
    ) -> None:
        self._groups = groups
        self._hosts = hosts
        self._findings = findings

    def read(self, definition: Definition | None) -> tuple[Rule, ...] | None:
        """The rules below `fleet.topology`, a mesh of everyone where it is missing.

        None where any of them was refused: what is linked with what is then unknown.
        """
        if definition is None or not isinstance(definition.value, yaml.MappingNode):
            return None
        document = definition.document
        keys = {document.key(key): value for key, value in document.pairs(definition.value)}
        node = keys.get("topology")
        if node is None:
            return (MeshRule(tuple(self._hosts), document.at(definition.key)),)
        if not isinstance(node, yaml.SequenceNode):
            return None
        rules = [self._rule(document, item) for item in node.value]
        known = tuple(found for found in rules if found is not None)
        return known if len(known) == len(rules) else None

    def _rule(self, document: Document, node: yaml.Node) -> Rule | None:
        settings = rule(document, node, TOPOLOGY, self._findings)
        if settings is None or not isinstance(node, yaml.MappingNode):
            return None
        nodes = {str(document.key(key)): value for key, value in document.pairs(node)}
        where = document.at(node)
        if settings.link:
            return self._link(document, settings, nodes["link"])
        if settings.mesh:
            found = self._hosts_of(document, settings.mesh, nodes["mesh"])
            return MeshRule(found, where) if found else None
        hubs = self._hosts_of(document, settings.hub, nodes["hub"])
        spokes = self._hosts_of(document, settings.spokes, nodes["spokes"])
        return HubRule(hubs, spokes, where) if hubs and spokes else None

    def _link(self, document: Document, settings: RuleSettings, node: yaml.Node) -> LinkRule | None:
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        ends = []
        for pattern, item in zip(settings.link, items, strict=True):
            found = self._hosts_of(document, [pattern], item)
            if len(found) > 1:
                message = f"{TOPOLOGY}.link: {pattern!r} is {len(found)} hosts; an end of a link is one"
                self._findings.append(document.finding(item, message))
            elif found:
                ends.append(found[0])
        if len(ends) != 2:
            return None
        if ends[0] == ends[1]:
            self._findings.append(
                document.finding(node, f"{TOPOLOGY}.link: joins {ends[0]!r} with itself; name two hosts")
            )
            return None
        return LinkRule((ends[0], ends[1]), document.at(node))

    def _hosts_of(self, document: Document, patterns: list[str], node: yaml.Node) -> tuple[str, ...]:
        """The hosts of a pattern, or of a list whose items are its terms; empty where refused."""
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        bad = False
        for pattern, item in zip(patterns, items, strict=True):
            if pattern[0] not in "&!":
                bad |= not self._match(document, pattern, item)
        return () if bad else self._match(document, ",".join(patterns), node)

    def _match(self, document: Document, pattern: str, node: yaml.Node) -> tuple[str, ...]:
        try:
            return tuple(match(pattern, self._groups, self._hosts))
        except ValueError as error:
            self._findings.append(document.finding(node, f"{TOPOLOGY}: {error}"))
            return ()
