"""Keys on a device by name."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from agent.bundle import Bundle, Interface
from agent.curve import clamp
from agent.host.keys import KeyNames
from agent.report import FOREIGN
from agent.secret import Secret, SecretRef, Secrets
from agent.wireguard.x25519 import PrivateKey

FIRST, SECOND, PSK = SecretRef("key/a", 1), SecretRef("key/a", 2), SecretRef("psk/a~b", 1)


def secrets(**values: int) -> Secrets:
    refs = {"first": FIRST, "second": SECOND, "psk": PSK}
    return Secrets((refs[name], Secret(bytes([value]) * 32)) for name, value in values.items())


def bundle(private_key: SecretRef) -> Bundle:
    public_key = base64.b64encode(bytes(32)).decode()
    interface = Interface("wg0", "auto", private_key, public_key, 0, 1420, (), (), ())
    return Bundle(1, "0" * 32, "t", "a", 1, (interface,))


def test_each_key_has_its_name_and_a_stranger_has_none() -> None:
    names = KeyNames(None, secrets(first=8, second=16, psk=24))
    assert names.private(bytes([16]) * 32) == SECOND
    assert names.preshared(bytes([24]) * 32) == PSK
    assert names.private(bytes([99]) * 32) == FOREIGN
    assert names.preshared(bytes([99]) * 32) == FOREIGN
    assert names.private(None) is None
    assert names.preshared(None) is None


def test_a_device_gives_a_private_key_back_clamped() -> None:
    names = KeyNames(None, secrets(first=0xFF))
    assert names.private(PrivateKey(bytes([0xFF]) * 32).data) == FIRST


def test_of_two_names_for_one_key_the_wanted_one_counts() -> None:
    same = secrets(first=8, second=8)
    for wanted in (FIRST, SECOND):
        assert KeyNames(bundle(wanted), same).private(bytes([8]) * 32) == wanted


@given(st.binary(min_size=32, max_size=32))
def test_clamping_is_what_curve25519_does(key: bytes) -> None:
    assert clamp(key) == PrivateKey(key).data
