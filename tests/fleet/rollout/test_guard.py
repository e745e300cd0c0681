"""Hosts of another fleet are never written to by mistake."""

from __future__ import annotations

import pytest

from fleet.errors import FleetError
from fleet.rollout.guard import Known, check_identity
from tests.fleet.rollout.made import FLEET, bundle, report

PLACE = "/fleet/state/acme.db"
OWN = {"fra1": report(bundle())}


def refusal(known: Known | None) -> str:
    with pytest.raises(FleetError) as caught:
        check_identity(known, OWN, ("fra1",), PLACE)
    text = str(caught.value)
    assert "fra1" in text
    assert PLACE in text
    assert "Nothing was changed" in text
    assert "restore" in text
    assert "--adopt" in text
    return text


def test_hosts_of_this_fleet_pass() -> None:
    check_identity(Known(FLEET, 3), OWN, ("fra1",), PLACE)
    check_identity(Known(FLEET, 9), OWN, ("fra1",), PLACE)


def test_hosts_of_no_fleet_pass() -> None:
    fresh = report(bundle(), fleet=None, fleet_name=None, revision=None, digest=None, host=None)
    for known in (None, Known(FLEET, 1)):
        check_identity(known, {"fra1": fresh}, ("fra1",), PLACE)


def test_a_lost_state_is_refused() -> None:
    text = refusal(None)
    assert "there is no state" in text
    assert "--new-fleet" in text
    assert FLEET in text


def test_another_fleet_is_refused() -> None:
    assert "e" * 32 in refusal(Known("e" * 32, 9))


def test_an_old_backup_is_refused() -> None:
    text = refusal(Known(FLEET, 2))
    assert "revision 3" in text
    assert "revision 2" in text
    assert "--new-fleet" not in text


def test_a_host_that_answers_as_another_of_the_inventory_is_refused() -> None:
    with pytest.raises(FleetError, match=r"(?s)sgp1 says that it is fra1.*ansible_host") as caught:
        check_identity(Known(FLEET, 3), {"sgp1": report(bundle())}, ("fra1", "sgp1"), PLACE)
    assert "Nothing was changed" in str(caught.value)


def test_a_host_that_answers_as_one_that_left_passes() -> None:
    check_identity(Known(FLEET, 3), {"sgp1": report(bundle())}, ("nyc1", "sgp1"), PLACE)
