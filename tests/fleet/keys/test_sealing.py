"""What is sealed opens with the same key in the same place, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.secret import Secret
from fleet.errors import FleetError
from fleet.keys.sealing import Place, Sealer
from tests.fleet.fleets import Randomness

PLACE = Place("f" * 32, "a" * 16, "private-key", 1)
KEY = Secret(b"k" * 32)
SECRET = Secret(b"s" * 32)


def sealed() -> bytes:
    return Sealer(KEY).seal(SECRET, PLACE, Randomness())


def test_it_opens_again() -> None:
    assert Sealer(KEY).unseal(sealed(), PLACE) == SECRET


def test_nothing_of_it_can_be_read() -> None:
    assert SECRET.reveal() not in sealed()
    assert KEY.reveal() not in sealed()


def test_every_sealing_takes_a_new_nonce() -> None:
    random = Randomness()
    sealer = Sealer(KEY)
    assert sealer.seal(SECRET, PLACE, random) != sealer.seal(SECRET, PLACE, random)


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(PLACE, fleet_id="e" * 32),
        replace(PLACE, host="b" * 16),
        replace(PLACE, kind="psk-root"),
        replace(PLACE, generation=2),
    ],
)
def test_it_does_not_open_elsewhere(elsewhere: Place) -> None:
    with pytest.raises(FleetError, match="cannot be unsealed"):
        Sealer(KEY).unseal(sealed(), elsewhere)


def test_it_does_not_open_with_another_key() -> None:
    with pytest.raises(FleetError, match=f"the sealing key is not the one of fleet {PLACE.fleet_id}"):
        Sealer(Secret(b"x" * 32)).unseal(sealed(), PLACE)


@pytest.mark.parametrize(
    "damage", [lambda s: s[:-1], lambda s: b"\x02" + s[1:], lambda s: b"", lambda s: s[:20]]
)
def test_what_is_damaged_does_not_open(damage: object) -> None:
    assert callable(damage)
    with pytest.raises(FleetError, match="damaged"):
        Sealer(KEY).unseal(damage(sealed()), PLACE)


def test_every_single_byte_counts() -> None:
    good = sealed()
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 1
        with pytest.raises(FleetError):
            Sealer(KEY).unseal(bytes(bad), PLACE)


def test_a_sealer_does_not_print_its_key() -> None:
    assert "kkk" not in repr(Sealer(KEY))
