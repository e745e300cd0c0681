"""Public keys of private ones, with and without the library."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import curve
from agent.wireguard.x25519 import PrivateKey


@given(st.binary(min_size=32, max_size=32))
@settings(deadline=None)
def test_the_ladder_agrees_with_the_library(key: bytes) -> None:
    assert curve.multiply_base(key) == PrivateKey(key).public == curve.public_key(key)


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32, bytes([1] * 31 + [0x80])])
def test_extreme_keys(key: bytes) -> None:
    assert curve.multiply_base(key) == PrivateKey(key).public


def test_a_host_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "agent.wireguard.x25519", None)
    key = bytes(range(32))
    assert curve.public_key(key) == PrivateKey(key).public
