"""Keys as text."""

from __future__ import annotations

import base64

import pytest

from agent.wg import keys

# RFC 7748, section 6.1
PRIVATE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")


def test_a_private_key_is_clamped() -> None:
    assert base64.b64decode(keys.private(b"\xff" * 32)) == bytes([0xF8, *[0xFF] * 30, 0x7F])


@pytest.mark.parametrize("after", ["", "\n", " \r\n\t\v\f\n"])
def test_a_public_key(after: str) -> None:
    assert keys.public(keys.encode(PRIVATE) + after) == keys.encode(PUBLIC)


@pytest.mark.parametrize("after", ["x", "=", "\n\nx", "\x85"])
def test_what_follows_a_key(after: str) -> None:
    with pytest.raises(ValueError, match="something follows"):
        keys.public(keys.encode(PRIVATE) + after)


@pytest.mark.parametrize(
    "text", ["", "\n", "abc", " " + "A" * 43 + "=", "A" * 42 + "B=", "A" * 44, "-" * 43 + "=", "é" * 44]
)
def test_what_is_no_key_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a key, which is 44 letters of base64$"):
        keys.public(text)
