"""Our tunnel and Debian's wireguard-go as each other's peer, both configured with Debian's `wg`."""

from __future__ import annotations

import signal
import time

import pytest

from tests.lab.namespaces import wired_pair
from tests.lab.tunnels import PORT, introduce, ping, received, start, wait_for_pings, wg

pytestmark = pytest.mark.lab

INITIATION, RESPONSE, KEEPALIVE = 148, 92, 32
PING = 128
"""An echo of 84 bytes, padded to 96, in a message of transport data."""


@pytest.mark.parametrize("version", [4, 6], ids=["outer4", "outer6"])
@pytest.mark.parametrize("with_psk", [False, True], ids=["plain", "psk"])
@pytest.mark.parametrize("we_start", [True, False], ids=["we-call", "we-answer"])
def test_handshake_and_pings_of_both_families(version: int, with_psk: bool, we_start: bool) -> None:
    with wired_pair() as (left, right):
        ours, other = start(left, "ours"), start(right, "wireguard-go")
        psk = wg("genpsk") if with_psk else None
        extra = ("preshared-key", "/dev/stdin") if with_psk else ()
        introduce(ours, other, *extra, version=version, stdin=psk)
        caller, called = (ours, other) if we_start else (other, ours)

        assert ping(caller, called.inner4, 10) == 10
        got, sent = caller.transfer()
        assert got == 10 * PING + RESPONSE
        assert sent - 10 * PING - INITIATION in (0, KEEPALIVE)
        assert called.transfer() == (sent, got)

        assert ping(caller, called.inner6, 10) == 10
        assert ping(called, caller.inner4, 10) == 10
        assert ping(called, caller.inner6, 10) == 10
        assert abs(ours.latest_handshake() - other.latest_handshake()) <= 1
        assert abs(ours.latest_handshake() - time.time()) < 60


def test_a_wrong_preshared_key_lets_nothing_through() -> None:
    with wired_pair() as (left, right):
        ours, other = start(left, "ours"), start(right, "wireguard-go")
        introduce(ours, other, "preshared-key", "/dev/stdin", stdin=wg("genpsk"))
        ours.set("peer", other.public_key, "preshared-key", "/dev/stdin", stdin=wg("genpsk"))
        assert ping(ours, other.inner4, 1) == 0
        assert ping(other, ours.inner4, 1) == 0
        assert ours.latest_handshake() == 0


def test_either_side_roams_to_another_address() -> None:
    with wired_pair() as (left, right):
        ours, other = start(left, "ours"), start(right, "wireguard-go")
        introduce(ours, other)
        assert ping(ours, other.inner4) == 3
        ours.ip("address", "delete", f"{left.v4}/24", "dev", "wire0")
        ours.ip("address", "add", "192.0.2.11/24", "dev", "wire0")
        assert ping(ours, other.inner4) == 3
        assert other.show("endpoints").endswith(f"192.0.2.11:{PORT}")
        assert ping(other, ours.inner4) == 3

        other.ip("address", "delete", f"{right.v4}/24", "dev", "wire0")
        other.ip("address", "add", "192.0.2.12/24", "dev", "wire0")
        other.set("listen-port", "7777")  # or else it sticks to the address that is gone for 15 s
        assert ping(other, ours.inner4) == 3
        assert ours.show("endpoints").endswith("192.0.2.12:7777")
        assert ping(ours, other.inner4) == 3


def test_we_answer_from_the_address_that_was_called() -> None:
    with wired_pair() as (left, right):
        ours, other = start(left, "ours"), start(right, "wireguard-go")
        introduce(ours, other)
        ours.ip("address", "add", "192.0.2.101/24", "dev", "wire0")
        ours.ip("address", "add", "2001:db8::101/64", "dev", "wire0", "nodad")
        for endpoint in (f"192.0.2.101:{PORT}", f"[2001:db8::101]:{PORT}"):
            other.set("peer", ours.public_key, "endpoint", endpoint)
            wait_for_pings(other, ours.inner4)
            assert ping(other, ours.inner4) == 3
            assert other.show("endpoints").endswith(endpoint)


def test_killed_and_started_again() -> None:
    with wired_pair() as (left, right):
        ours, other = start(left, "ours"), start(right, "wireguard-go")
        introduce(ours, other)
        assert ping(ours, other.inner4) == 3
        configuration = wg("showconf", ours.interface)
        assert ours.signal(signal.SIGKILL) == -signal.SIGKILL
        assert ours.control.exists()

        again = start(left, "ours", ours.interface)
        again.number = ours.number
        wg("setconf", again.interface, "/dev/stdin", stdin=configuration)
        again.up()
        assert ping(again, other.inner4) == 3
        assert ping(other, again.inner4) == 3


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_rekey_loses_no_ping() -> None:
    count, interval = 660, 0.2
    with wired_pair() as first, wired_pair() as second:
        pings = []
        tunnels = []
        for (left, right), we_start in ((first, True), (second, False)):
            ours, other = start(left, "ours"), start(right, "wireguard-go")
            introduce(ours, other)
            caller, called = (ours, other) if we_start else (other, ours)
            assert ping(caller, called.inner4, 1) == 1
            tunnels.append((ours, other, ours.latest_handshake()))
            pings += [
                here.space.start("ping", "-q", "-i", str(interval), "-c", str(count), there.inner4)
                for here, there in ((ours, other), (other, ours))
            ]
        for process in pings:
            output, _ = process.communicate(timeout=count * interval + 30)
            assert received(output) == count
        for ours, other, before in tunnels:
            assert 118 <= ours.latest_handshake() - before <= 130
            assert abs(ours.latest_handshake() - other.latest_handshake()) <= 1
