"""What the agent does by itself when ways and names change around it, on two hosts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.bundle import Bundle, Interface
from tests.lab.agents import AgentHost, agent_pair, linked
from tests.lab.namespaces import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow]
Pair = tuple[AgentHost, AgentHost]
NAME = "peer.fleet.example"


@pytest.fixture
def bare() -> Iterator[Pair]:
    with agent_pair() as hosts:
        for host in hosts:
            host.start()
        yield hosts


def altered(bundle: Bundle, endpoint: str, **fields: object) -> Bundle:
    """With its one peer called there, and other fields of its one interface."""
    (interface,) = bundle.interfaces
    (peer,) = interface.peers
    changed: Interface = replace(interface, peers=(replace(peer, endpoint=endpoint),), **fields)  # type: ignore[arg-type]
    return replace(bundle, interfaces=(changed,))


def test_the_mtu_fits_the_way_and_follows_it(bare: Pair) -> None:
    here, there = bare
    wire = here.run("ip", "-o", "route", "get", there.space.v4).stdout.split(" dev ")[1].split()[0]

    def mtu() -> int:
        (interface,) = here.report().observed.interfaces
        return interface.mtu

    bundle, secrets = linked(here, there)
    here.apply(altered(bundle, f"{there.space.v4}:51820", mtu=None), secrets)
    assert mtu() == 1500 - 60
    here.apply(altered(replace(bundle, revision=2), f"[{there.space.v6}]:51820", mtu=None), secrets)
    assert mtu() == 1500 - 80
    assert here.run("ip", "link", "set", wire, "mtu", "1400").returncode == 0
    wait_until(lambda: mtu() == 1400 - 80, "the new MTU", 40)
    here.run("ip", "-6", "route", "add", f"{there.space.v6}/128", "dev", wire, "mtu", "1380")
    wait_until(lambda: mtu() == 1380 - 80, "the route's own MTU", 40)
    assert here.report().pending == ()


def test_a_name_that_moved_is_found_again(bare: Pair, tmp_path: Path) -> None:
    """Nobody answers where the name leads at first; the agent asks again and calls where it leads by then."""
    here, there = bare
    hosts = tmp_path / "hosts"
    hosts.write_text(f"198.18.0.77 {NAME}\n")
    assert here.run("mount", "--bind", str(hosts), "/etc/hosts").returncode == 0
    there.apply(*linked(there, here, calls=False))
    bundle, secrets = linked(here, there, keepalive=1)
    here.apply(altered(bundle, f"{NAME}:51820"), secrets)
    assert here.report().links[0].endpoint == "198.18.0.77:51820"
    hosts.write_text(f"{there.space.v4} {NAME}\n")
    wait_until(lambda: here.report().links[0].state == "up", "the link", 150)
    assert here.report().links[0].endpoint == f"{there.space.v4}:51820"
    assert here.pings(there.v4)
