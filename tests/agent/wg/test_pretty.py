"""What people read. That it is wg's for any device is tested beside it, in tests/lab."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from agent.wg.pretty import Style, render
from tests.agent.wg.samples import DEVICE, EMPTY, FIRST, NOW, PRIVATE, PSK, PUBLIC, SECOND, THIRD, b64

PLAIN = f"""\
interface: wg0
  public key: {b64(PUBLIC)}
  private key: (hidden)
  listening port: 51820
  fwmark: 0x10

peer: {b64(THIRD)}
  endpoint: 192.0.2.1:500
  allowed ips: (none)
  latest handshake: 1 minute, 5 seconds ago
  transfer: 1122.83 TiB received, 95.27 GiB sent
  persistent keepalive: every 1 minute, 1 second

peer: {b64(SECOND)}
  preshared key: (hidden)
  endpoint: [2001:db8::]:5
  allowed ips: 10.0.0.0/8, fd00::/64
  latest handshake: 1 hour, 1 minute, 5 seconds ago
  transfer: 1.00 KiB received, 1023 B sent
  persistent keepalive: every 25 seconds

peer: {b64(FIRST)}
  allowed ips: (none)
"""


def test_plain() -> None:
    assert render("wg0", DEVICE, NOW, Style()) == PLAIN


def test_colours_change_no_letter() -> None:
    painted = render("wg0", DEVICE, NOW, Style(colours=True))
    assert re.sub("\x1b\\[[0-9]+m", "", painted) == PLAIN
    assert painted.startswith(
        "\x1b[0m\x1b[32m\x1b[1minterface\x1b[0m: \x1b[32mwg0\x1b[0m\n  \x1b[1mpublic key\x1b[0m: "
    )
    assert f"\x1b[33m\x1b[1mpeer\x1b[0m: \x1b[33m{b64(FIRST)}\x1b[0m\n" in painted
    assert "10.0.0.0\x1b[36m/\x1b[0m8, " in painted


def test_keys_are_shown_where_they_are_asked_for() -> None:
    shown = render("wg0", DEVICE, NOW, Style(keys=True))
    assert shown == PLAIN.replace("private key: (hidden)", f"private key: {b64(PRIVATE)}").replace(
        "preshared key: (hidden)", f"preshared key: {b64(PSK)}"
    )


def test_nothing_set() -> None:
    assert render("wg0", EMPTY, NOW, Style()) == "interface: wg0\n"


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (0, "Now"),
        (1, "1 second ago"),
        (60, "1 minute ago"),
        (100_000_001, "3 years, 62 days, 9 hours, 46 minutes, 41 seconds ago"),
        (-1, "(System clock wound backward; connection problems may ensue.)"),
    ],
)
def test_times(ago: int, said: str) -> None:
    peer = replace(DEVICE.peers[0], latest_handshake_ns=(NOW - ago) * 10**9)
    assert f"\n  latest handshake: {said}\n" in render("wg0", replace(DEVICE, peers=(peer,)), NOW, Style())
