"""A device with what there is to show, for the tests of everything that shows it."""

from __future__ import annotations

import base64

from agent.host.device import DeviceState, PeerState

NOW = 1_800_000_000

PRIVATE, PUBLIC, FIRST, SECOND, THIRD, PSK = (bytes([number]) * 32 for number in range(1, 7))
DEVICE = DeviceState(
    private_key=PRIVATE,
    public_key=PUBLIC,
    listen_port=51820,
    fwmark=16,
    peers=(
        PeerState(FIRST),
        PeerState(
            SECOND,
            PSK,
            "[2001:0db8::0]:5",
            ("10.0.0.0/8", "fd00:0::/64"),
            25,
            (NOW - 3665) * 10**9 + 999_999_999,
            1025,
            1023,
        ),
        PeerState(THIRD, None, "192.0.2.1:500", (), 61, (NOW - 65) * 10**9, 1234567890123456, 102300000000),
    ),
)
EMPTY = DeviceState()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
