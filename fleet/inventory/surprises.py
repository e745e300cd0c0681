"""What YAML and Ansible make of a text that was meant otherwise: templates, vaults, tags, anchors, base 60.

Only for values that fleet reads; whatever else an inventory holds is none of its business. Called by
`values` and `connection`.
"""

from __future__ import annotations

import yaml

from fleet.errors import Finding
from fleet.inventory.document import CORE_TAG, Document

_TEMPLATES = ("{{", "{%", "{#")


def surprises(
    document: Document, node: yaml.Node, what: str, findings: list[Finding], patterns: bool = False
) -> set[int]:
    """A finding for every surprise in a value and below it; returns the ids of the nodes that surprise.

    `what` names the variable. With `patterns`, texts are host patterns, where an anchor is never meant.
    """
    odd: set[int] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        message = _surprise(document, current, patterns)
        if message:
            odd.add(id(current))
            findings.append(document.finding(current, f"{what}: {message}"))
        elif isinstance(current, yaml.MappingNode):
            for key, value in document.pairs(current, findings):
                waiting += (key, value)
        elif isinstance(current, yaml.SequenceNode):
            waiting += current.value
    return odd


def _surprise(document: Document, node: yaml.Node, patterns: bool) -> str | None:
    source = document.source(node)
    if node.tag in ("!vault", "!vault-encrypted"):
        return "encrypted with ansible-vault, which fleet does not open; write the value itself"
    if node.tag.startswith("!"):
        return f"YAML takes {source or node.tag} for a tag; quote it: '{source or node.tag}'"
    if isinstance(node, yaml.MappingNode):
        template = any(isinstance(key, yaml.MappingNode) for key, _ in node.value)
        return "a template, which fleet does not evaluate; write the value itself" if template else None
    if not isinstance(node, yaml.ScalarNode):
        return None
    if source.startswith("&") and (patterns or node.tag == CORE_TAG + "null"):
        return f"YAML takes {source} for an anchor; quote it: '{source}'"
    if node.tag == CORE_TAG + "str":
        if any(mark in node.value for mark in _TEMPLATES):
            return "a template, which fleet does not evaluate; write the value itself"
    elif node.tag in (CORE_TAG + "int", CORE_TAG + "float"):
        return _number(document, node)
    return None


def _number(document: Document, node: yaml.ScalarNode) -> str | None:
    text = node.value.lstrip("+-")
    if ":" in text:
        return f"YAML reads {node.value} as {document.plain(node)}, in base 60; quote it: '{node.value}'"
    if len(text) > 1 and text[0] == "0" and text[1].isdecimal():
        return f"YAML reads {node.value} as {document.plain(node)}, in base 8; drop the zero, or quote it"
    return None
