"""The numbers, as the whitepaper (5.4, 6.1) and the kernel module give them."""

from __future__ import annotations

from agent.wireguard import constants
from agent.wireguard.timers import Timers, jitters


def test_the_numbers_of_the_protocol() -> None:
    numbers = {name: value for name, value in vars(constants).items() if name.isupper()}
    assert numbers == {
        "KEY_SIZE": 32,
        "REKEY_AFTER_MESSAGES": 2**60,
        "REJECT_AFTER_MESSAGES": 2**64 - 1 - 8128 - 1,
        "REPLAY_WINDOW": 8128,
        "REKEY_AFTER_TIME": 120,
        "REJECT_AFTER_TIME": 180,
        "REKEY_ON_RECEIVE_AFTER_TIME": 165,
        "REKEY_TIMEOUT": 5,
        "MAX_JITTER_MS": 333,
        "MAX_HANDSHAKE_ATTEMPTS": 18,
        "KEEPALIVE_TIMEOUT": 10,
        "MAX_KEEPALIVE": 65535,
        "ERASE_AFTER_TIME": 540,
        "COOKIE_SECRET_MAX_AGE": 120,
        "COOKIE_MAX_AGE": 115,
        "INITIATION_INTERVAL": 0.02,
        "HANDSHAKES_PER_SECOND": 20,
        "HANDSHAKE_BURST": 5,
        "MAX_QUEUED_HANDSHAKES": 4096,
        "UNDER_LOAD_FROM": 512,
        "UNDER_LOAD_LINGERS": 1,
        "MAX_STAGED_PACKETS": 128,
        "PADDING_MULTIPLE": 16,
        "HANDSHAKE_TOS": 0x88,
        "MAX_PEERS": 2**20,
    }


def test_jitter_takes_every_value_up_to_a_third_of_a_second() -> None:
    drawn = b"".join(number.to_bytes(2, "little") for number in range(334))
    timers = Timers(jitters(lambda size: drawn))
    waits = []
    for _ in range(334):
        timers.handshake_initiated(0.0)
        waits.append(round(timers.retransmit - 5, 4))
    assert waits == [number / 1000 for number in range(334)]
