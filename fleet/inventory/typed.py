"""Variables to typed settings, every refusal at the place that caused it.

Called by `read`; stands between the YAML nodes and the pydantic models so that neither knows the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fleet.errors import Finding, Location
from fleet.inventory.document import Document
from fleet.inventory.settings import FleetSettings, HostSettings, Kind, RuleSettings
from fleet.inventory.suggest import suggestion
from fleet.inventory.surprises import surprises
from fleet.inventory.tree import Definition
from fleet.inventory.values import describe

M = TypeVar("M", bound=BaseModel)
HOST_VARIABLES = tuple(HostSettings.model_fields)


def fleet_settings(definition: Definition, findings: list[Finding]) -> FleetSettings:
    """The dictionary `fleet`; what is wrong with it goes to `findings` and stays at its default."""
    document, node = definition.document, definition.value
    if not isinstance(node, yaml.MappingNode):
        if node is None or not surprises(document, node, "fleet", findings):
            message = f"fleet: expected a mapping of settings, not {describe(definition.read())}"
            findings.append(Finding(definition.where, message))
        return FleetSettings()
    settings = validated(FleetSettings, document, node, "fleet", findings)
    for name, field in FleetSettings.model_fields.items():
        kind = next(item for item in field.metadata if isinstance(item, Kind))
        if kind.required and name not in document.plain(node):
            findings.append(Finding(document.at(definition.key), f"fleet: `{name}` is missing"))
    return settings or FleetSettings()


def host_variable(name: str, definition: Definition, findings: list[Finding]) -> HostSettings | None:
    """A `fleet_` variable as the only one set in a HostSettings; None where it is refused."""
    document, node = definition.document, definition.value
    if name not in HostSettings.model_fields:
        cure = suggestion(name, HOST_VARIABLES)
        findings.append(document.finding(definition.key, f"unknown variable {name!r}{cure}"))
        return None
    if node is None:
        return None
    if surprises(document, node, name, findings):
        return None
    try:
        return HostSettings.model_validate({name: document.plain(node)})
    except ValidationError as error:
        for problem in error.errors():
            where = _locate(document, node, problem["loc"][1:])[-1]
            empty = where.start_mark.index == where.end_mark.index
            place = document.at(definition.key if empty else where)
            findings.append(Finding(place, f"{name}: {_message(problem)}"))
        return None


def rule(document: Document, node: yaml.Node, what: str, findings: list[Finding]) -> RuleSettings | None:
    """One rule of the topology; None where it is refused."""
    if not isinstance(node, yaml.MappingNode):
        if not surprises(document, node, what, findings, patterns=True):
            value = describe(document.plain(node))
            findings.append(document.finding(node, f"{what}: expected a rule, like `mesh: all`, not {value}"))
        return None
    before = len(findings)
    found = validated(RuleSettings, document, node, what, findings)
    return found if len(findings) == before else None


def validated(
    model: type[M], document: Document, node: yaml.MappingNode, what: str, findings: list[Finding]
) -> M | None:
    """A mapping as a model, without the keys that were refused; None where it does not fit as a whole."""
    odd: set[int] = set()
    value = document.plain(node)
    good = dict(value)
    for key, item in document.pairs(node, findings):
        name = document.key(key)
        if model is FleetSettings and name == "topology" and isinstance(item, yaml.SequenceNode):
            continue  # rule by rule, by `rule`
        found = surprises(document, item, f"{what}.{name}", findings, patterns=model is RuleSettings)
        if found:
            odd |= found
            good.pop(name)
    problems: list[Any] = []
    try:
        fitting = model.model_validate(value)
        if not odd:
            return fitting
    except ValidationError as error:
        problems = list(error.errors())
    for problem in problems:
        loc = problem["loc"]
        path = _locate(document, node, loc)
        if loc:
            good.pop(loc[0], None)
        if odd and (not loc or any(id(item) in odd for item in path)):
            continue
        if problem["type"] == "extra_forbidden":
            findings.append(_unknown(document, node, what, str(loc[0]), model))
            continue
        label = f"{what}.{loc[0]}" if loc else what
        findings.append(Finding(_place(document, node, path, loc), f"{label}: {_message(problem)}"))
    try:
        return model.model_validate(good)
    except ValidationError:
        return None


def _unknown(document: Document, node: yaml.MappingNode, what: str, key: str, model: type[M]) -> Finding:
    cure = suggestion(key, model.model_fields)
    if not cure and "fleet_" + key in HOST_VARIABLES:
        cure = f"; for every host, set `fleet_{key}` in the vars of `all`"
    if not cure:
        cure = f": expected one of {', '.join(model.model_fields)}"
    place = next(item for item, _ in document.pairs(node) if str(document.key(item)) == key)
    return document.finding(place, f"{what}: unknown key {key!r}{cure}")


def _locate(document: Document, node: yaml.Node, loc: Sequence[int | str]) -> list[yaml.Node]:
    """The nodes along a path of pydantic's, the whole first."""
    path = [node]
    for part in loc:
        current = path[-1]
        if isinstance(current, yaml.MappingNode):
            found = [value for key, value in document.pairs(current) if document.key(key) == part]
        elif isinstance(current, yaml.SequenceNode) and isinstance(part, int):
            found = current.value[part : part + 1]
        else:
            found = []
        if not found:
            break
        path.append(found[-1])
    return path


def _place(
    document: Document, node: yaml.MappingNode, path: list[yaml.Node], loc: Sequence[int | str]
) -> Location:
    """Where a problem is: the value, its key where the value is empty."""
    where = path[-1]
    if where.start_mark.index == where.end_mark.index and loc:
        return next(document.at(key) for key, _ in document.pairs(node) if document.key(key) == loc[0])
    return document.at(where)


def _message(problem: Any) -> str:
    error = problem.get("ctx", {}).get("error")
    return str(error) if error is not None else str(problem["msg"])
