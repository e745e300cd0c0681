"""What a file means, what is refused and where, and that no error tells a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.quick.conf import QuickConf, interface_name, parse, split
from agent.wg import keys
from agent.wg.config import Config, ConfigError, Entry
from tests.agent.quick import corpus, files

ONE = bytes([1]) * 32


def refused(content: str, file: str = "/etc/wireguard/wg0.conf") -> str:
    with pytest.raises(ConfigError) as caught:
        parse(content, file)
    return str(caught.value)


def test_every_key() -> None:
    content = f"""\
[Interface]  # ours
PrivateKey = {corpus.KEY}
Address = 10.0.0.1/24, fd00::1
address=10.0.1.1
DNS = 192.0.2.53,example.com
DNS = 2001:db8::53
MTU = 1300
mtu = 0x578
Table = 7
PreUp = one %i # not this
PreUp = two
PostUp = three = %i; %%i
PreDown = four
PostDown =
SaveConfig = True
"""
    assert parse(content, "etc/wg-x.conf") == QuickConf(
        "wg-x",
        Config(ONE),
        addresses=("10.0.0.1/24", "fd00::1", "10.0.1.1"),
        dns_servers=("192.0.2.53", "2001:db8::53"),
        dns_domains=("example.com",),
        mtu=1400,
        table="7",
        pre_up=("one wg-x", "two"),
        post_up=("three = wg-x; %wg-x",),
        pre_down=("four",),
        post_down=("",),
        save=True,
    )


def test_a_file_may_say_nothing() -> None:
    assert parse("", "wg0.conf") == QuickConf("wg0", Config())


def test_an_empty_value_takes_the_last_one_back() -> None:
    assert parse("[Interface]\nMTU = 1300\nTable = 5\nMTU =\nTable =\n", "wg0.conf") == QuickConf(
        "wg0", Config()
    )


def test_parts_keep_what_is_wgs_and_where_it_was() -> None:
    parts = split("\n[Interface]\n  Address = 1\n\tListenPort = 5 # x\nNope", "f")
    assert parts.stripped == "\n[Interface]\nListenPort = 5 # x\nNope\n"
    assert parts.numbered == "\n[Interface]\n\nListenPort = 5 # x\nNope"
    assert parts.entries == (Entry("address", "1", 3),)
    assert (parts.last("address"), parts.last("mtu")) == ("1", "")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("[Interface]\nAddress = 10.0.0.1/33", "2: Address: expected IP or IP/LENGTH"),
        ("[Interface]\n\nAddress = 10.0.0.1/24, here", "3: Address: expected IP or IP/LENGTH"),
        ("[Interface]\nAddress = 10.0.0.1/255.255.255.0", "2: Address: expected IP or IP/LENGTH"),
        ("[Interface]\nAddress = fe80::1%eth0/64", "2: Address: expected IP or IP/LENGTH"),
        ("[Interface]\nAddress = 10.0.0.1/", "2: Address: expected IP or IP/LENGTH"),
        ("[Interface]\nAddress = 10.0.0.1/\u0662", "2: Address: expected IP or IP/LENGTH"),
        ("[Interface]\nAddress", "2: expected KEY = VALUE"),
        ("[Interface]\nPostUp # = x", "2: expected KEY = VALUE"),
        ("[Interface]\nDNS = 1.1.1", "2: DNS: expected addresses and domains"),
        ("[Interface]\nDNS = [::1]", "2: DNS: expected addresses and domains"),
        ("[Interface]\nDNS = *", "2: DNS: no wildcards, no control characters"),
        ("[Interface]\nDNS = a?", "2: DNS: no wildcards, no control characters"),
        ("[Interface]\nDNS = a\x01", "2: DNS: no wildcards, no control characters"),
        ("[Interface]\nMTU = 1300\nMTU = large", "3: MTU: expected a number of bytes"),
        ("[Interface]\nMTU = -1", "2: MTU: expected a number of bytes"),
        ("[Interface]\nMTU = 4294967296", "2: MTU: expected a number of bytes"),
        ("[Interface]\nTable = AUTO", "2: Table: write auto in small letters"),
        ("[Interface]\nTable = Off", "2: Table: write off in small letters"),
        ("[Interface]\nTable = 4294967296", "2: Table: expected a number of 0 to 4294967295"),
        ("[Interface]\nTable = 1 dev eth0", "2: Table: expected a number of 0 to 4294967295"),
        ("[Interface]\nTable = main dev", "2: Table: expected auto, off, a number or a name"),
        ("[Interface]\nSaveConfig = yes", "2: SaveConfig: expected true or false"),
        ("\ufeff[Interface]", "1: begins with a byte order mark: save it as UTF-8 without one"),
        ("[Interface]\nAddress = 10.0.0.1\n[Peer]\nMTU = 5", "4: unknown key MTU in [Peer]"),
        ("[Interface]\nMTU = 5\n[ Interface ]\nMTU = 6", "4: unknown key MTU in [Interface]"),
        ("Address = 10.0.0.1", "1: Address stands before the first [SECTION]"),
        (
            "[Interface]\nDNS = 1.1.1.1\n\nPrivateKey = x",
            "4: PrivateKey: expected a key, which is 44 letters",
        ),
    ],
)
def test_refusals_say_where(content: str, error: str) -> None:
    assert refused(content).startswith(f"/etc/wireguard/wg0.conf:{error}")


@pytest.mark.parametrize(
    "name", ["wg0", ".conf", "a" * 16 + ".conf", "w g.conf", "..conf", "\xe4.conf", "wg0.conf/"]
)
def test_names_that_are_no_interface(name: str) -> None:
    with pytest.raises(ConfigError, match=r"expected NAME\.conf"):
        interface_name(f"/etc/wireguard/{name}")


@pytest.mark.parametrize("name", ["wg0", "a" * 15, "wg=+.x-_", "wg0.conf"])
def test_names_of_interfaces(name: str) -> None:
    assert interface_name(f"{name}.conf") == interface_name(f"/etc/wireguard/{name}.conf") == name


@given(files.scraps(), st.binary(min_size=32, max_size=32))
def test_neither_errors_nor_pictures_tell_a_key(scraps: str, secret: bytes) -> None:
    key = keys.encode(secret)
    content = f"[Interface]\nPrivateKey = {key}\n{scraps}"
    try:
        shown = repr(parse(content, "wg0.conf")) + repr(split(content, "wg0.conf"))
    except ConfigError as error:
        shown = str(error)
    assert key[:-1] not in shown


@pytest.mark.parametrize(
    "line", ["Address = {}", "DNS = a:{}", "MTU = {}", "Table = {} x", "SaveConfig = {}", "DNS = {}*"]
)
def test_errors_do_not_repeat_what_may_be_a_key(line: str) -> None:
    assert corpus.KEY[:-1] not in refused(f"[Interface]\n{line.format(corpus.KEY)}")


@given(files.confs())
def test_what_is_stripped_is_the_device(text: str) -> None:
    parts = split(text, "wg0.conf")
    again = parse(parts.stripped, "wg0.conf")
    assert again == QuickConf("wg0", again.device)
    assert [peer.allowed_ips for peer in again.device.peers] == [
        peer.allowed_ips for peer in parse(text, "wg0.conf").device.peers
    ]
