"""The reference of every key, generated from the models. Called by `fleet inventory --reference` and docs."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from fleet.inventory.settings import FleetSettings, HostSettings, Kind, RuleSettings

_SCOPES: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("all", "fleet.", FleetSettings),
    ("rule", "", RuleSettings),
    ("host, group", "", HostSettings),
)


@dataclass(frozen=True)
class Row:
    """One key: where it may stand, its name, type, default and meaning, in words."""

    scope: str
    key: str
    kind: str
    default: str
    meaning: str


def rows() -> list[Row]:
    """Every key, in the order of the models."""
    found = []
    for scope, prefix, model in _SCOPES:
        for name, field in model.model_fields.items():
            kind = next(item for item in field.metadata if isinstance(item, Kind))
            default = "required" if kind.required else kind.default or _written(field.default)
            meaning = field.description or ""
            found.append(Row(scope, prefix + name, kind.words, default, meaning))
    return found


def markdown() -> str:
    """The reference as a table of Markdown."""
    lines = ["| key | where | type | default | meaning |", "|---|---|---|---|---|"]
    for row in rows():
        lines.append(f"| `{row.key}` | {row.scope} | {row.kind} | {row.default} | {row.meaning} |")
    return "\n".join(lines) + "\n"


def _written(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return str(default) if default else "-"
