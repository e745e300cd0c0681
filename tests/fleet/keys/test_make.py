"""Keys as WireGuard wants them, against the algorithms' published examples."""

from __future__ import annotations

import base64
import hashlib

from agent.secret import Secret, SecretRef
from fleet.keys.make import derive_preshared_key, make_private_key, public_key
from fleet.keys.refs import host_of, pair_id, pair_of, preshared_key_ref, private_key_ref
from tests.fleet.fleets import Randomness


def test_a_public_key_is_that_of_rfc_7748() -> None:
    """Section 6.1, Alice's keys."""
    private = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    public = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    assert base64.b64decode(public_key(Secret(private))) == public


def test_private_keys_are_clamped() -> None:
    random = Randomness()
    for _ in range(50):
        value = make_private_key(random).reveal()
        assert value[0] & 7 == 0
        assert value[31] & 0xC0 == 0x40


def test_private_keys_take_all_their_randomness_from_what_is_given() -> None:
    assert make_private_key(Randomness("a")) == make_private_key(Randomness("a"))
    assert make_private_key(Randomness("a")) != make_private_key(Randomness("b"))


def test_a_preshared_key_depends_on_root_pair_and_generation() -> None:
    root, other = Secret(b"r" * 32), Secret(b"o" * 32)
    keys = {
        derive_preshared_key(root, "a~b", 1).reveal(),
        derive_preshared_key(root, "a~b", 2).reveal(),
        derive_preshared_key(root, "a~c", 1).reveal(),
        derive_preshared_key(other, "a~b", 1).reveal(),
    }
    assert len(keys) == 4


def test_a_preshared_key_stays_what_it_is() -> None:
    """Both ends derive it at different times, with different versions of fleet: it must never change."""
    root = Secret(bytes(range(32)))
    expected = hashlib.blake2s(b"fleet preshared key 00~01 3", key=bytes(range(32))).digest()
    assert derive_preshared_key(root, "00~01", 3).reveal() == expected


def test_names_of_keys() -> None:
    assert private_key_ref("ab", 2) == SecretRef("key/ab", 2)
    assert pair_id("b", "a") == pair_id("a", "b") == "a~b"
    assert preshared_key_ref("a~b", 1) == SecretRef("psk/a~b", 1)
    assert (host_of(SecretRef("key/ab", 2)), pair_of(SecretRef("key/ab", 2))) == ("ab", None)
    assert (host_of(SecretRef("psk/a~b", 2)), pair_of(SecretRef("psk/a~b", 2))) == (None, "a~b")
