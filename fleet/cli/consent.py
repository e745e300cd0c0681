"""Asking before anything is changed. Called by apply and destroy."""

from __future__ import annotations

import sys

from fleet.errors import FleetError


def agreed(question: str, json: bool, refusal: str) -> bool:
    """Whether the operator says yes; raises FleetError with `refusal` where nobody can be asked."""
    if json or not sys.stdin.isatty():
        raise FleetError(refusal)
    from fleet.views.console import confirmed

    return confirmed(question)
