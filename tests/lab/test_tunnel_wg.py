"""Debian's `wg` on our tunnel: every way it has to set and to show."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.namespaces import wired_pair
from tests.lab.tunnels import PORT, Tunnel, introduce, ping, received, start, wg

pytestmark = pytest.mark.lab


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    with wired_pair() as (left, _):
        yield start(left, "ours")


def key() -> str:
    return wg("pubkey", stdin=wg("genkey"))


def refused(*argv: str) -> str:
    """What `wg` says as it fails."""
    done = subprocess.run(("wg", *argv), capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    return done.stderr.strip()


def test_what_is_set_is_shown(tunnel: Tunnel) -> None:
    first, second = key(), key()
    psk = wg("genpsk")
    tunnel.set("fwmark", "0x10", "listen-port", "7")
    tunnel.set(
        *("peer", first, "preshared-key", "/dev/stdin", "endpoint", "[2001:db8::7]:5"),
        *("persistent-keepalive", "25", "allowed-ips", "10.0.0.1/8,fd00::1/64"),
        stdin=psk,
    )
    tunnel.set("peer", second, "endpoint", "192.0.2.9:6", "allowed-ips", "")
    assert tunnel.show("dump").splitlines() == [
        "\t".join([tunnel.private_key, tunnel.public_key, "7", "0x10"]),
        "\t".join([first, psk, "[2001:db8::7]:5", "10.0.0.0/8,fd00::/64", "0", "0", "0", "25"]),
        "\t".join([second, "(none)", "192.0.2.9:6", "(none)", "0", "0", "0", "off"]),
    ]
    shown = wg("show", tunnel.interface)
    assert f"peer: {first}\n  preshared key: (hidden)\n  endpoint: [2001:db8::7]:5\n" in shown
    assert f"\ninterface: {tunnel.interface}\n" in f"\n{wg('show', 'all')}"
    assert tunnel.interface in wg("show", "interfaces").split()
    tunnel.set("fwmark", "off", "peer", first, "remove", "peer", second, "allowed-ips", "10.0.0.0/8")
    assert tunnel.show("fwmark") == "off"
    assert tunnel.show("allowed-ips") == f"{second}\t10.0.0.0/8"


def test_configurations_are_set_synchronised_added_and_shown(tunnel: Tunnel, tmp_path: Path) -> None:
    first, second, third = key(), key(), key()
    file = tmp_path / "wg.conf"

    def configure(how: str, text: str) -> None:
        file.write_text(text)
        wg(how, tunnel.interface, str(file))

    interface = f"[Interface]\nPrivateKey = {tunnel.private_key}\nListenPort = 9\nFwMark = 0x2\n"
    one = f"[Peer]\nPublicKey = {first}\nAllowedIPs = 10.0.1.0/24\nEndpoint = 192.0.2.1:1\n"
    two = f"[Peer]\nPublicKey = {second}\nAllowedIPs = 10.0.2.0/24\n"
    three = f"[Peer]\nPublicKey = {third}\nAllowedIPs = 10.0.1.0/24, 10.0.3.0/24\n"

    configure("setconf", interface + one + two)
    assert tunnel.show("peers").split() == [first, second]
    configure("addconf", three)
    assert tunnel.show("allowed-ips").splitlines() == [
        f"{first}\t(none)",
        f"{second}\t10.0.2.0/24",
        f"{third}\t10.0.1.0/24 10.0.3.0/24",
    ]
    configure("syncconf", interface + one + three)
    assert sorted(tunnel.show("peers").split()) == sorted([first, third])
    shown = wg("showconf", tunnel.interface)
    assert f"[Interface]\nListenPort = 9\nFwMark = 0x2\nPrivateKey = {tunnel.private_key}\n" in shown
    configure("setconf", "[Interface]\n")
    assert wg("showconf", tunnel.interface) == "[Interface]"
    configure("setconf", shown)
    assert wg("showconf", tunnel.interface) == shown


def test_a_private_key_may_come_and_go_at_any_time(tunnel: Tunnel) -> None:
    tunnel.set("private-key", "/dev/null")
    assert tunnel.show("public-key") == "(none)"
    tunnel.ip("link", "set", tunnel.interface, "up")
    tunnel.set("private-key", "/dev/stdin", stdin=tunnel.private_key)
    assert tunnel.show("public-key") == tunnel.public_key
    tunnel.set("peer", tunnel.public_key, "allowed-ips", "10.0.0.0/8")
    assert tunnel.show("peers") == ""


def test_a_port_of_somebody_else_is_refused_and_the_old_one_kept(tunnel: Tunnel) -> None:
    rival = start(tunnel.space, "wireguard-go")
    rival.set("listen-port", "7")
    rival.ip("link", "set", rival.interface, "up")
    tunnel.ip("link", "set", tunnel.interface, "up")
    said = refused("set", tunnel.interface, "listen-port", "7")
    assert said == "Unable to modify interface: Address already in use"
    assert tunnel.show("listen-port") == str(PORT)


def test_three_megabytes_of_peers_hold_up_no_ping(tmp_path: Path) -> None:
    with wired_pair() as (left, right):
        ours, other = start(left, "ours"), start(right, "wireguard-go")
        introduce(ours, other)
        assert ping(ours, other.inner4) == 3
        peers = [
            f"[Peer]\nPublicKey = {public_key}\nAllowedIPs = "
            + ", ".join(f"10.{100 + (number >> 8)}.{number & 255}.{host}/32" for host in range(24))
            for number, public_key in enumerate(_public_keys(4000))
        ]
        file = tmp_path / "many.conf"
        file.write_text("\n".join(peers))
        pings = other.space.start("ping", "-q", "-c", "40", "-i", "0.05", ours.inner4)
        wg("addconf", ours.interface, str(file))
        output, _ = pings.communicate(timeout=30)
        assert received(output) == 40
        assert len(ours.show("peers").split()) == 4001
        assert len(ours.show("allowed-ips").split()) == 4001 + 2 + 4000 * 24


def test_a_peer_with_130000_prefixes(tunnel: Tunnel, tmp_path: Path) -> None:
    peer = key()
    prefixes = [f"{a}.{b}.0.0/16" for a in range(1, 255) for b in range(256)]
    prefixes += [f"{a:x}::{b:x}/128" for a in range(1, 255) for b in range(256)]
    file = tmp_path / "many.conf"
    file.write_text(f"[Peer]\nPublicKey = {peer}\n" + "".join(f"AllowedIPs = {one}\n" for one in prefixes))
    wg("setconf", tunnel.interface, str(file))
    shown, *rest = tunnel.show("allowed-ips").split()
    assert shown == peer
    assert len(rest) == len(set(rest)) == len(prefixes) == 130048
    file.write_text(f"[Peer]\nPublicKey = {peer}\nAllowedIPs = 10.0.0.0/8\n")
    wg("syncconf", tunnel.interface, str(file))
    assert tunnel.show("allowed-ips") == f"{peer}\t10.0.0.0/8"


def _public_keys(count: int) -> Iterator[str]:
    """Any 32 bytes are a public key."""
    for number in range(count):
        yield base64.b64encode(number.to_bytes(2, "big") + bytes(range(30))).decode()
