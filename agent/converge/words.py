"""How differences are worded. Pure. Called by everything of converge."""

from __future__ import annotations

from typing import Any, Optional

from agent.operations import Operation, Step
from agent.report import Action, Change
from agent.secret import SecretRef


def named(ref: Optional[SecretRef]) -> Optional[str]:
    """A secret as people see it."""
    return None if ref is None else f"{ref.id} generation {ref.generation}"


def step(layer: str, item: str, expected: Any, actual: Any, operation: Operation) -> Step:
    """A step whose action follows from what there is: None stands for nothing."""
    action: Action = "add" if actual is None else "remove" if expected is None else "change"
    return change(layer, item, action, expected, actual, operation)


def change(layer: str, item: str, action: Action, expected: Any, actual: Any, operation: Operation) -> Step:
    """A step whose action does not follow from its values."""
    return Step(Change(layer, item, action, expected, actual), operation)
