"""Configuration files: what is read, what is refused and where, and that what is written can be read."""

from __future__ import annotations

import socket
from typing import Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.host.device import DeviceState, PeerState
from agent.wg import keys
from agent.wg.config import Config, ConfigError, Endpoint, PeerConfig, parse, render, sections

ONE, TWO, THREE = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
KEY, OTHER, PSK = keys.encode(ONE), keys.encode(TWO), keys.encode(THREE)


def peer(line: str) -> PeerConfig:
    """The peer of a file with one more line about it."""
    (found,) = parse(f"[Peer]\nPublicKey = {KEY}\n{line}\n", "f").peers
    return found


def refused(content: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(content, "wg0.conf")
    return str(caught.value)


def test_every_key() -> None:
    content = f"""\
# a comment
[Interface]
PrivateKey = {KEY}
ListenPort = 51820
FwMark = 0x10

[Peer]  # the first
PublicKey = {OTHER}
PresharedKey = {PSK}
AllowedIPs = 10.0.0.0/8, fd00::/64
Endpoint = vpn.example.com:5
PersistentKeepalive = 25
AllowedIPs = 192.0.2.1
[Peer]
PublicKey = {PSK}
"""
    assert parse(content, "wg0.conf") == Config(
        ONE,
        51820,
        16,
        [
            PeerConfig(
                TWO,
                THREE,
                ["10.0.0.0/8", "fd00::/64", "192.0.2.1/32"],
                Endpoint("vpn.example.com", 5, 11),
                25,
            ),
            PeerConfig(THREE),
        ],
    )


def test_an_empty_file_is_an_empty_device() -> None:
    assert parse("", "f") == parse(" \n\t# nothing\n[Interface]", "f") == Config()


def test_odd_spacing_and_spelling() -> None:
    content = (
        f" [ inter FACE ]\r\n\tlistenPORT=5#6\r\n\v p r i v a t e k e y = {KEY[:9]} {KEY[9:]}\f\r\n[PEER]\n"
    )
    content += (
        f"publickey={OTHER}\nallowedIPS =10.0.0.0 / 8 ,fd00::1\n[Interface]\nFwMark=OFF\nListenPort=007"
    )
    found = parse(content, "f")
    assert found == Config(ONE, 7, 0, [PeerConfig(TWO, None, ["10.0.0.0/8", "fd00::1/128"])])


def test_the_last_one_counts() -> None:
    found = peer(
        f"PublicKey = {OTHER}\nEndpoint = a:1\nEndpoint = b:2\nPersistentKeepalive=5\nPersistentKeepalive=off"
    )
    assert found == PeerConfig(TWO, endpoint=Endpoint("b", 2, 5), persistent_keepalive=0)


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("0", 0),
        ("off", 0),
        ("Off", 0),
        ("010", 10),
        ("4294967295", 2**32 - 1),
        ("0xfFffffff", 2**32 - 1),
        ("0x0", 0),
    ],
)
def test_marks(text: str, mark: int) -> None:
    assert parse(f"[Interface]\nFwMark={text}", "f").fwmark == mark


@pytest.mark.parametrize(
    "text",
    [
        "4294967296",
        "0x100000000",
        "-1",
        "+5",
        "0x",
        "0X10",
        "a",
        "1x",
        "0x0x5",
        "0x-5",
        "0x+5",
        "0x_1",
        "1_0",
        "٣",
    ],
)
def test_marks_that_are_none(text: str) -> None:
    assert refused(f"[Interface]\nFwMark={text}").startswith("wg0.conf:2: FwMark: expected off, 0 to ")


@pytest.mark.parametrize("text", ["65536", "-1", "5s", "0x10", "OFFF", "9" * 5000])
def test_intervals_that_are_none(text: str) -> None:
    said = refused(f"[Peer]\nPublicKey={KEY}\nPersistentKeepalive={text}")
    assert said == f"wg0.conf:3: PersistentKeepalive: expected off or 0 to 65535, not {text!r}"


@pytest.mark.parametrize("text", ["65536", "-1", "http", "off", "1 2 3 4 5 6", "²"])
def test_ports_that_are_none(text: str) -> None:
    assert refused(f"[Interface]\n\n\nListenPort = {text}").startswith(
        "wg0.conf:4: ListenPort: expected 0 to 65535"
    )


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1:5", "192.0.2.1", 5),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("2001:db8::1:5", "2001:db8::1", 5),
        ("[fe80::1%eth0]:5", "fe80::1%eth0", 5),
        ("[localhost]:5", "localhost", 5),
        ("vpn.example.com : 0", "vpn.example.com", 0),
    ],
)
def test_endpoints(text: str, host: str, port: int) -> None:
    assert peer(f"Endpoint = {text}").endpoint == Endpoint(host, port, 3)


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1",
        "192.0.2.1:",
        ":5",
        "[::1]5",
        "[::1",
        "[::1]:",
        "[::1]:5:6",
        "[]:5",
        "a:http",
        "a:65536",
        "a:-1",
    ],
)
def test_endpoints_that_are_none(text: str) -> None:
    assert refused(f"[Peer]\nEndpoint = {text}").startswith("wg0.conf:2: Endpoint: expected ")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0/8",
            "fd00::/129",
            "name",
            "/8",
            "10.0.0.0/8/9",
        ),
        *(
            "10.0.0.0,",
            ",10.0.0.0",
            "+10.0.0.0",
            "10.0.0.0/8x",
            "010.0.0.0",
            "fe80::1%lo",
            "10.0.0.0/0x8",
            "é::",
        ),
    ],
)
def test_prefixes_that_are_none(text: str) -> None:
    assert refused(f"[Peer]\nPublicKey={KEY}\n# x\nAllowedIPs = {text}").startswith(
        "wg0.conf:4: AllowedIPs: expected "
    )


def test_bits_beyond_the_mask_are_worth_a_warning() -> None:
    found = parse(
        f"[Peer]\nPublicKey={KEY}\nAllowedIPs = 10.0.0.1/8, 10.0.0.0/8, FD00::1/64, 1.2.3.4/0", "wg0.conf"
    )
    assert found.peers[0].allowed_ips == ["10.0.0.1/8", "10.0.0.0/8", "fd00::1/64", "1.2.3.4/0"]
    assert found.warnings == [
        f"wg0.conf:3: AllowedIPs: {word} has bits beyond its mask"
        for word in ("10.0.0.1/8", "FD00::1/64", "1.2.3.4/0")
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("ListenPort = 5", "1: ListenPort stands before the first [SECTION]"),
        ("[Interface]\nnonsense", "2: expected [SECTION] or KEY = VALUE"),
        ("[Interface]\nListenPort =", "2: expected [SECTION] or KEY = VALUE"),
        ("[Interface]\n= 5", "2: expected [SECTION] or KEY = VALUE"),
        ("[Interface]\n;ListenPort = 5", "2: unknown key ;ListenPort in [Interface]"),
        ("\n[Foo]\nA = b", "2: unknown section [foo]"),
        ("[Interface]\nAddress = 10.0.0.1/8", "2: unknown key Address in [Interface]"),
        (f"[Interface]\nPublicKey = {KEY}", "2: unknown key PublicKey in [Interface]"),
        (f"[Peer]\nPublicKey = {KEY}\nListenPort=5", "3: unknown key ListenPort in [Peer]"),
        (f"[Peer]\nPublicKey = {KEY}\n[Peer]\nAllowedIPs=10.0.0.0", "3: this peer has no PublicKey"),
    ],
)
def test_what_is_wrong_and_where(content: str, said: str) -> None:
    assert refused(content) == f"wg0.conf:{said}"


@pytest.mark.parametrize("text", ["x", KEY + "A", KEY[:-1], KEY[:-2] + "F=", "-" * 43 + "=", KEY + KEY])
@pytest.mark.parametrize("section", ["[Interface]\nPrivateKey", "[Peer]\nPublicKey", "[Peer]\nPresharedKey"])
def test_a_key_that_is_none_is_not_repeated(section: str, text: str) -> None:
    name = section.partition("\n")[2]
    assert (
        refused(f"{section} = {text}") == f"wg0.conf:2: {name}: expected a key, which is 44 letters of base64"
    )


def test_secrets_are_not_shown() -> None:
    found = parse(f"[Interface]\nPrivateKey={KEY}\n[Peer]\nPublicKey={OTHER}\nPresharedKey={PSK}", "f")
    assert str(ONE) not in repr(found)
    assert str(THREE) not in repr(found)


def test_sections_know_no_key() -> None:
    (section,) = sections(
        "[Interface]\nPostUp = echo  a   b; true # say so\n\nDNS = 192.0.2.1, 192.0.2.2\n", "f"
    )
    assert (section.kind, section.line) == ("interface", 1)
    assert section.entries == [("PostUp", "echo  a   b; true", 2), ("DNS", "192.0.2.1, 192.0.2.2", 4)]


@given(st.text())
@settings(deadline=None)
def test_any_text_is_read_or_refused(content: str) -> None:
    said = "f:"
    try:
        parse(content, "f")
    except ConfigError as error:
        said = str(error)
    assert said.startswith("f:")


keys_of_32 = st.binary(min_size=32, max_size=32).filter(any)


def _prefix(family: socket.AddressFamily, packed: bytes, length: int) -> str:
    mask = (1 << len(packed) * 8) - (1 << len(packed) * 8 - length)
    masked = (int.from_bytes(packed, "big") & mask).to_bytes(len(packed), "big")
    return f"{socket.inet_ntop(family, masked)}/{length}"


prefixes = st.one_of(
    st.builds(_prefix, st.just(socket.AF_INET), st.binary(min_size=4, max_size=4), st.integers(0, 32)),
    st.builds(_prefix, st.just(socket.AF_INET6), st.binary(min_size=16, max_size=16), st.integers(0, 128)),
)
peers = st.builds(
    PeerState,
    keys_of_32,
    st.none() | keys_of_32,
    st.none() | st.sampled_from(["192.0.2.1:5", "[2001:db8::1]:65535"]),
    st.lists(prefixes, max_size=5).map(tuple),
    st.integers(0, 65535),
)


@given(
    st.builds(
        DeviceState,
        st.none() | keys_of_32,
        st.none(),
        st.integers(0, 65535),
        st.integers(0, 2**32 - 1),
        st.lists(peers, max_size=4).map(tuple),
    )
)
@settings(deadline=None)
def test_what_is_written_can_be_read(device: DeviceState) -> None:
    found = parse(render(device), "f")
    assert found.warnings == []
    assert (found.private_key, found.listen_port or 0, found.fwmark or 0) == (
        device.private_key,
        device.listen_port,
        device.fwmark,
    )
    assert [as_state(one) for one in found.peers] == list(device.peers)


def as_state(found: PeerConfig) -> PeerState:
    endpoint: Optional[str] = None if found.endpoint is None else str(found.endpoint)
    return PeerState(
        found.public_key,
        found.preshared_key,
        endpoint,
        tuple(found.allowed_ips),
        found.persistent_keepalive or 0,
    )
