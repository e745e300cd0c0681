"""One YAML file as nodes that know their place: PyYAML's composer, bounded, its errors with a cure.

Job: text to nodes, mappings with merge keys and duplicates resolved as Ansible's loader does, nodes to
plain values. Refuses to know what any key means. Called by the readers of inventory and variable files.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fleet.errors import Finding, Location
from fleet.inventory.not_yaml import explain

MAX_BYTES = 16 * 2**20
MAX_VALUES = 2_000_000
"""How many values a file may stand for once its aliases are followed."""
MAX_DEPTH = 100

CORE_TAG = "tag:yaml.org,2002:"
_MERGE = CORE_TAG + "merge"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_scalars = yaml.SafeLoader("")

Pairs = list[tuple[yaml.Node, yaml.Node]]


@dataclass(frozen=True, eq=False)
class Document:
    """A file that is YAML; `root` is None where it is empty. Every method is for nodes of this document."""

    file: Path
    text: str
    root: yaml.Node | None
    _values: dict[int, Any] = field(default_factory=dict, repr=False)

    def at(self, node: yaml.Node) -> Location:
        """Where a node begins."""
        return Location(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def finding(self, node: yaml.Node, message: str) -> Finding:
        """A finding about a node."""
        return Finding(self.at(node), message)

    def source(self, node: yaml.Node) -> str:
        """A node as it is written, its first line."""
        return self.text[node.start_mark.index : node.end_mark.index].strip().split("\n")[0]

    def pairs(self, node: yaml.MappingNode, findings: list[Finding] | None = None) -> Pairs:
        """Keys and values of a mapping, `<<` followed; with `findings`, duplicate keys are reported there.

        As in PyYAML's SafeConstructor: a mapping's own keys win, then the first of several merged ones;
        the last of duplicates.
        """
        merged: Pairs = []
        own: dict[Hashable, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                merged += self._merged(value, findings)
                continue
            name = self.key(key)
            if name in own and findings is not None:
                line = own[name][0].start_mark.line + 1
                findings.append(
                    self.finding(key, f"duplicate key {name!r}, already on line {line}: keep one of them")
                )
            own[name] = (key, value)
        if not merged:
            return list(own.values())
        result = {self.key(key): (key, value) for key, value in merged}
        return list((result | own).values())

    def _merged(self, node: yaml.Node, findings: list[Finding] | None) -> Pairs:
        if isinstance(node, yaml.MappingNode):
            return self.pairs(node)
        if isinstance(node, yaml.SequenceNode):
            return [pair for item in reversed(node.value) for pair in self._merged(item, findings)]
        if findings is not None:
            findings.append(self.finding(node, "<< merges mappings: expected an alias of one, or a list"))
        return []

    def key(self, node: yaml.Node) -> Hashable:
        """A mapping's key as a value; one that cannot be a key in Python stands for itself as written."""
        if node.tag == CORE_TAG + "str" and isinstance(node, yaml.ScalarNode):
            return str(node.value)
        value = self.plain(node)
        return value if isinstance(value, Hashable) else self.source(node)

    def plain(self, node: yaml.Node) -> Any:
        """A node as Python values, an encrypted text as `{"__ansible_vault": TEXT}`; never fails."""
        if id(node) not in self._values:
            self._values[id(node)] = self._plain(node)
        return self._values[id(node)]

    def _plain(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return {self.key(key): self.plain(value) for key, value in self.pairs(node)}
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item) for item in node.value]
        if node.tag in ("!vault", "!vault-encrypted"):
            return {"__ansible_vault": node.value}
        construct = _scalars.yaml_constructors.get(node.tag)
        if construct is None:
            return node.value
        try:
            return construct(_scalars, node)
        except (ValueError, yaml.YAMLError):  # 2026-13-45 looks like a date to the resolver
            return node.value


def read_document(file: Path, findings: list[Finding]) -> Document | None:
    """A file's one document; None with a finding where it cannot be read or is not YAML."""
    start = Location(file, 1, 1)
    try:
        data = file.read_bytes()
    except OSError as error:
        findings.append(Finding(start, f"cannot be read: {error.strerror}"))
        return None
    if len(data) > MAX_BYTES:
        findings.append(
            Finding(start, f"larger than {MAX_BYTES} bytes; split it into group_vars and host_vars")
        )
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        findings.append(Finding(Location(file, line, column), "not UTF-8: save the file in that encoding"))
        return None
    try:
        root = _LOADER(text).get_single_node()
    except yaml.YAMLError as error:
        findings.append(explain(file, text, error))
        return None
    document = Document(file, text, root)
    if root is not None and (refused := _too_much(document, root)):
        findings.append(refused)
        return None
    return document


def _too_much(document: Document, root: yaml.Node) -> Finding | None:
    """Refuses what is too deep, or too much through aliases; without recursion, since nodes may be cyclic."""
    sizes: dict[int, int] = {}
    heights: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack = [(root, False)]
    while stack:
        node, left = stack.pop()
        children = _children(node)
        if left:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
            heights[id(node)] = 1 + max((heights[id(child)] for child in children), default=0)
            if heights[id(node)] > MAX_DEPTH:
                return document.finding(node, f"goes deeper than {MAX_DEPTH} levels: nest less")
            if sizes[id(node)] > MAX_VALUES:
                return document.finding(node, f"stands for more than {MAX_VALUES} values: use fewer aliases")
        elif id(node) in open_nodes:
            return document.finding(node, "contains an alias of itself")
        elif id(node) not in sizes:
            open_nodes.add(id(node))
            stack.append((node, True))
            stack += [(child, False) for child in children]
    return None


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
