"""What `save` writes, beside the real wg-quick, and what it keeps that wg-quick forgets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.host.device import DeviceState, PeerState
from agent.quick.conf import Parts, parse, split
from agent.quick.plan import DownFacts, part, remove
from agent.quick.save import SavedState, render
from agent.wg import config
from agent.wg.config import ConfigError
from tests.agent.quick import files
from tests.agent.quick.corpus import GOOD, ODD
from tests.agent.quick.wgquick import Fakes
from tests.agent.quick.world import FILE, World, changing, planned, real

STATE = SavedState(
    DeviceState(
        bytes([1]) * 32,
        None,
        51820,
        0xCA6C,
        (
            PeerState(bytes([2]) * 32, bytes([4]) * 32, "192.0.2.1:5", ("10.0.0.0/8", "::/0"), 25),
            PeerState(bytes([3]) * 32, None, "[2001:db8::1]:6"),
        ),
    ),
    ("10.0.0.1/24", "fd00::1/64"),
    1380,
    ("192.0.2.53", "2001:db8::53"),
)
BARE = SavedState(DeviceState(listen_port=5), (), 1420, ())


def tell_saved(fakes: Fakes, state: SavedState) -> None:
    fakes.answer("wg show interfaces", "wg1 wg0\n")
    fakes.answer("wg showconf wg0", config.render(state.device))
    fakes.answer("ip link show dev wg0", f"9: wg0: <POINTOPOINT,NOARP,UP> mtu {state.mtu} qdisc noqueue\n")
    addresses = " ".join(state.addresses)
    fakes.answer(
        "ip -all -brief address show dev wg0",
        f"wg0              UNKNOWN        {addresses} \n".rstrip() + "\n",
    )
    servers = "".join(f"nameserver {server}\n" for server in state.dns_servers or ())
    fakes.answer("resolvconf -l wg0", f"# of wg0\n{servers}options edns0\n")


def without_domains(parts: Parts) -> Parts:
    """wg-quick forgets them, which `save` does not."""
    return replace(parts, entries=tuple(entry for entry in parts.entries if entry.key != "dns"))


def check_save(text: str, state: SavedState) -> None:
    with real(text, World()) as (fakes, path):
        tell_saved(fakes, state)
        ran = fakes.run("save", path)
        written = Path(path).read_bytes().decode("utf-8", "surrogateescape")
    try:
        expected = render(without_domains(split(text, FILE)), state)
    except ConfigError:
        assert (ran.status, written) == (1, text)
    else:
        assert (ran.status, written) == (0, expected), ran.stderr


@pytest.mark.lab
@pytest.mark.parametrize("state", [STATE, BARE], ids=["full", "bare"])
@pytest.mark.parametrize("text", [*GOOD.values(), *ODD.values()], ids=[*GOOD, *ODD])
def test_save(text: str, state: SavedState) -> None:
    check_save(text, state)


@pytest.mark.lab
@settings(max_examples=30, deadline=None)
@given(st.one_of(files.confs(), files.scraps()))
def test_save_of_generated_files(text: str) -> None:
    check_save(text, STATE)


@pytest.mark.lab
def test_down_saves_before_the_device_goes() -> None:
    text = GOOD["saved"]
    conf = parse(text, FILE)
    with real(text, World()) as (fakes, path):
        tell_saved(fakes, STATE)
        ran = fakes.run("down", path)
        written = Path(path).read_text()
    down = (*part(conf), *remove(conf, DownFacts()))
    assert (ran.status, *changing(ran)) == (0, *planned(down)), ran.stderr
    assert written == render(without_domains(split(text, FILE)), STATE)


@given(files.confs())
def test_a_file_that_was_saved_means_what_it_meant(text: str) -> None:
    """Beside what the device knows: hooks, servers, domains, table and whether it is saved."""
    state = replace(STATE, dns_servers=None)
    before = parse(text, FILE)
    saved = render(split(text, FILE), state)
    after = parse(saved, FILE)
    device, addresses = after.device, after.addresses
    mtu = before.mtu and state.mtu
    assert after == replace(before, device=device, addresses=addresses, mtu=mtu)
    assert addresses == state.addresses
    assert [peer.public_key for peer in device.peers] == [peer.public_key for peer in state.device.peers]
    assert render(split(saved, FILE), state) == saved


def test_domains_are_kept_and_servers_asked_for() -> None:
    parts = split("[Interface]\nDNS = 192.0.2.1, example.com\nDNS = lan\n", FILE)
    said = render(parts, replace(BARE, dns_servers=("192.0.2.53",)))
    assert said == "[Interface]\nDNS = 192.0.2.53\nDNS = example.com\nDNS = lan\nListenPort = 5\n"


def test_a_device_that_has_nothing_keeps_the_files_own() -> None:
    parts = split("[Interface]\nPostUp = hook\n", FILE)
    assert render(parts, replace(BARE, device=DeviceState())) == "[Interface]\nPostUp = hook\n"
