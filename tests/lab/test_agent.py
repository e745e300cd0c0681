"""The agent as a whole on two hosts: it makes links, and brings them back whatever is killed."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from nacl.public import PrivateKey

from agent.bundle import to_json
from tests.lab.agents import FLEET, AgentHost, agent_pair, linked
from tests.lab.namespaces import wait_until

pytestmark = pytest.mark.lab
Pair = tuple[AgentHost, AgentHost]


@pytest.fixture
def bare() -> Iterator[Pair]:
    with agent_pair() as hosts:
        yield hosts


@pytest.fixture
def pair(bare: Pair) -> Pair:
    """Both are linked and have spoken."""
    first, second = bare
    for here, there in (bare, bare[::-1]):
        here.start()
        answer = here.apply(*linked(here, there))
        assert answer["report"]["pending"] == []
        assert answer["report"]["problems"] == []
    assert first.pings(second.v4)
    assert second.pings(first.v6)
    return bare


def settled(host: AgentHost) -> bool:
    done = host.agent("report")
    if done.returncode:
        return False
    report = json.loads(done.stdout)["report"]
    return not report["pending"] and not report["problems"]


def test_links_work_and_a_second_apply_changes_nothing(pair: Pair) -> None:
    first, second = pair
    assert first.apply(*linked(first, second))["changes"] == []
    (link,) = first.report().links
    assert (link.host, link.state, link.endpoint) == ("host2", "up", f"{second.space.v4}:51820")
    assert link.latest_handshake_seconds is not None
    assert min(link.rx_bytes, link.tx_bytes) > 0
    assert "10.77.0.2/32" in first.run("wg", "show", first.interface).stdout


def test_what_is_kept_is_for_root_alone(pair: Pair) -> None:
    host = pair[0]
    modes = host.run(
        "stat", "-c", "%a %n", "/run/fleet-agent", "/run/fleet-agent/agent.sock", "/var/lib/fleet-agent"
    )
    assert [line.split()[0] for line in modes.stdout.splitlines()] == ["700", "600", "700"]
    modes = host.run("find", "/var/lib/fleet-agent", "-type", "f", "-printf", "%m %f\n")
    assert set(modes.stdout.splitlines()) == {"600 state.json", "600 agent.log"}
    for process in host.processes("agent.cli"):
        for file in ("cmdline", "environ"):
            text = Path(f"/proc/{process}/{file}").read_bytes()
            assert base64.b64encode(bytes(host.key)) not in text


def test_a_killed_agent_leaves_the_link_and_comes_back(pair: Pair) -> None:
    first, second = pair
    tunnels, services = first.tunnels(), first.services()
    first.kill("agent.cli", "service")
    assert first.pings(second.v4)
    wait_until(lambda: settled(first), "another agent", limit=30)
    assert first.services() != services
    assert first.tunnels() == tunnels
    assert first.report().restarts == {}


def test_a_killed_tunnel_comes_back_and_is_counted(pair: Pair) -> None:
    first, second = pair
    first.kill("tunnel", first.interface)
    wait_until(lambda: settled(first), "another tunnel", limit=30)
    wait_until(lambda: first.pings(second.v4), "the link", limit=30)
    assert first.report().restarts == {first.interface: 1}
    assert len(first.tunnels()) == 1


def test_everything_killed_at_once_comes_back(pair: Pair) -> None:
    first, second = pair
    for process in first.processes("agent.cli"):
        os.kill(process, signal.SIGKILL)
    first.start()
    wait_until(lambda: settled(first), "the agent", limit=30)
    wait_until(lambda: first.pings(second.v4), "the link", limit=30)


def test_a_reboot_brings_the_link_back_without_anybody(pair: Pair) -> None:
    first, second = pair
    first.crash()
    assert not first.pings(second.v4)
    first.start()
    wait_until(lambda: settled(first), "the agent", limit=30)
    wait_until(lambda: first.pings(second.v4) and first.pings(second.v6), "the link", limit=30)
    assert first.report().revision == 1


def test_after_a_reboot_peers_are_called_that_still_use_the_old_session(pair: Pair) -> None:
    first, second = pair
    before = second.report().links[0].rx_bytes
    first.crash()
    first.start()
    wait_until(lambda: settled(first), "the agent", limit=30)
    wait_until(lambda: second.report().links[0].rx_bytes > before, "the call", limit=30)
    assert first.report().links[0].state == "up"


def test_an_agent_started_anew_touches_no_tunnel(pair: Pair) -> None:
    first, second = pair
    tunnels = first.tunnels()
    ping = subprocess.Popen(
        first.command("ping", "-q", "-i", "0.05", "-c", "60", second.v4), stdout=subprocess.PIPE, text=True
    )
    done = first.agent("supervise", "--restart")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: settled(first), "the agent", limit=30)
    out, _ = ping.communicate(timeout=30)
    assert " 0% packet loss" in out
    assert first.tunnels() == tunnels


def test_a_tunnel_made_anew_calls_who_could_only_call_us(bare: Pair) -> None:
    first, second = bare
    first.start()
    second.start()
    first.apply(*linked(first, second, calls=False))
    second.apply(*linked(second, first))
    assert second.pings(first.v4)
    assert [link.state for link in first.report().links] == ["up"]
    before = second.report().links[0].rx_bytes
    first.kill("tunnel", first.interface)
    wait_until(lambda: settled(first), "another tunnel", limit=30)
    wait_until(lambda: second.report().links[0].rx_bytes > before, "the call", limit=30)


def test_stopping_the_agent_leaves_the_link(pair: Pair) -> None:
    first, second = pair
    assert first.agent("supervise", "--stop").returncode == 0
    assert first.processes("agent.cli", "service") == first.processes("agent.cli", "supervise") == []
    assert first.pings(second.v4)
    done = first.agent("report")
    assert done.returncode == 1
    assert "no agent answers" in done.stderr


def test_changes_by_hand_are_told_and_left(pair: Pair) -> None:
    first, _ = pair
    first.run("ip", "link", "set", first.interface, "mtu", "1300")
    (change,) = first.report().pending
    assert (change.layer, change.expected, change.actual) == ("interface", 1420, 1300)
    assert first.apply(*linked(*pair))["report"]["pending"] == []


def test_a_deleted_device_is_made_again(pair: Pair) -> None:
    first, second = pair
    first.run("ip", "link", "delete", first.interface)
    wait_until(lambda: settled(first), "the device", limit=30)
    wait_until(lambda: first.pings(second.v4), "the link", limit=30)


def test_leaving_takes_everything_away(pair: Pair) -> None:
    first, second = pair
    bundle, secrets = linked(first, second, 2, change={"interfaces": ()})
    answer = first.apply(bundle, secrets)
    assert answer["report"]["pending"] == []
    assert answer["report"]["secrets"] == []
    assert first.run("ip", "link", "show", first.interface).returncode != 0
    wait_until(lambda: not first.tunnels(), "the end of the tunnel")
    assert first.run("ip", "route", "show", "10.77.0.0/16").stdout == ""


def test_a_probe_waits_for_those_it_has_not_heard_of(bare: Pair) -> None:
    first, second = bare
    first.start()
    first.apply(*linked(first, second))
    second.start()
    second.apply(*linked(second, first, calls=False))
    assert [link.state for link in first.report(probe=True).links] == ["up"]


def test_a_probe_finds_who_does_not_answer(bare: Pair) -> None:
    first, second = bare
    first.start()
    first.apply(*linked(first, second))
    (link,) = first.report(probe=True).links
    assert (link.state, link.latest_handshake_seconds) == ("down", None)


def test_a_full_disk_keeps_the_old_bundle_and_says_so(pair: Pair) -> None:
    first, second = pair
    first.run("sh", "-c", "cat /dev/zero > /var/lib/fleet-agent/filler")
    bundle, secrets = linked(first, second, 2, keepalive=25)
    done = first.agent("apply", stdin=json.dumps({"bundle": to_json(bundle), "secrets": secrets.to_json()}))
    assert done.returncode == 1
    assert (
        f"no space left for /var/lib/fleet-agent/fleets/{FLEET}/state.json"
        in json.loads(done.stdout)["error"]
    )
    assert first.report().revision == 1
    assert first.pings(second.v4)
    first.run("rm", "/var/lib/fleet-agent/filler")
    assert first.apply(bundle, secrets)["report"]["revision"] == 2


def test_two_supervisors_are_one(pair: Pair) -> None:
    host = pair[0]
    before = host.processes("agent.cli")
    assert "supervised already" in host.agent("supervise").stdout
    assert host.processes("agent.cli") == before
    done = host.agent("service")
    assert done.returncode == 1
    assert "an agent runs on this host already" in done.stderr


def test_a_name_that_does_not_resolve_keeps_nobody_else_waiting(pair: Pair) -> None:
    first, second = pair
    bundle, secrets = linked(first, second, 2)
    (interface,) = bundle.interfaces
    stranger = replace(
        interface.peers[0],
        name="host3",
        public_key=base64.b64encode(bytes(PrivateKey.generate().public_key)).decode(),
        endpoint="nowhere.invalid:51820",
        allowed_ips=("10.77.0.3/32",),
    )
    answer = first.apply(replace(bundle, interfaces=(replace(interface, peers=(stranger,)),)), secrets)
    (problem,) = answer["report"]["problems"]
    assert "peer host3: endpoint nowhere.invalid:51820 does not resolve" in problem
    peers = answer["report"]["observed"]["interfaces"][0]["peers"]
    assert [peer["public_key"] for peer in peers] == [stranger.public_key]


def test_a_tunnel_that_dies_again_and_again_has_to_wait(pair: Pair) -> None:
    first, _ = pair
    for _ in range(4):
        wait_until(lambda: settled(first), "a tunnel", limit=30)
        first.kill("tunnel", first.interface)
    wait_until(lambda: "again and again" in "".join(first.report().problems), "the problem", limit=30)
    assert first.report().restarts == {first.interface: 4}
    wait_until(lambda: settled(first), "the tunnel", limit=30)
