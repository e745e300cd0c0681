"""Why a host has the backend that it has."""

from __future__ import annotations

import pytest

from fleet.rollout.status import backend_reason


@pytest.mark.parametrize(
    ("wanted", "actual", "wireguard", "reason"),
    [
        ("auto", None, True, None),
        ("kernel", "kernel", True, "fleet_backend is kernel"),
        ("userspace", "userspace", True, "fleet_backend is userspace"),
        ("userspace", "kernel", True, "fleet_backend is userspace: apply moves it"),
        ("auto", "kernel", True, "auto: its kernel has WireGuard"),
        ("auto", "userspace", False, "auto: its kernel has no WireGuard"),
        (
            "auto",
            "userspace",
            True,
            "auto: its kernel had no WireGuard, but has now: fleet_backend: kernel moves it",
        ),
    ],
)
def test_every_case(wanted: str, actual: str | None, wireguard: bool, reason: str | None) -> None:
    assert backend_reason(wanted, actual, wireguard) == reason
