"""The resident agent and an interface in a container's namespace: whatever ends, it comes back by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.bundle import Bundle
from agent.secret import Secrets
from tests.lab.agents import AgentHost, agent_pair, linked
from tests.lab.namespaces import Namespace, box, wait_until
from tests.lab.test_agent import settled
from tests.lab.test_host import KERNEL

pytestmark = pytest.mark.lab


@dataclass
class Boxed:
    host: AgentHost
    other: AgentHost
    box: Namespace
    kind: str

    def wanted(self, revision: int = 1, netns: str | None = "") -> tuple[Bundle, Secrets]:
        bundle, secrets = linked(self.host, self.other, revision)
        placed = self.box.name if netns == "" else netns
        (interface,) = bundle.interfaces
        interface = replace(interface, netns=placed, backend=self.kind)  # type: ignore[arg-type]
        return replace(bundle, interfaces=(interface,)), secrets

    def reaches(self) -> bool:
        return not self.box.run("ping", "-c1", "-W1", self.other.v4, check=False).returncode

    def index(self) -> str:
        return self.box.run("cat", f"/sys/class/net/{self.host.interface}/ifindex", check=False).stdout


@pytest.fixture
def boxed(request: pytest.FixtureRequest) -> Iterator[Boxed]:
    kind: str = request.param
    with agent_pair() as (host, other), box(host.space) as inner:
        other.start()
        bundle, secrets = linked(other, host, calls=False)
        (interface,) = bundle.interfaces
        answer = other.apply(
            replace(bundle, interfaces=(replace(interface, backend=kind),)),  # type: ignore[arg-type]
            secrets,
        )
        assert answer["report"]["problems"] == []
        host.start()
        yield Boxed(host, other, inner, kind)


BOTH = pytest.mark.parametrize("boxed", [KERNEL, "userspace"], indirect=True)


@BOTH
def test_agent_restarts_and_kills_leave_it_alone(boxed: Boxed) -> None:
    host = boxed.host
    answer = host.apply(*boxed.wanted())
    assert answer["report"]["problems"] == []
    assert boxed.reaches()
    (link,) = host.report(probe=True).links
    assert link.state == "up"
    index = boxed.index()
    assert index
    for words in (("agent.cli", "service"), ("agent.cli", "supervise")):
        host.kill(*words)
    host.kill("agent.cli", "service")
    host.start()
    wait_until(lambda: settled(host), "an agent that has nothing to do")
    assert boxed.index() == index
    assert boxed.reaches()
    assert host.apply(*boxed.wanted())["changes"] == []


@BOTH
def test_it_is_made_again_whenever_its_namespace_comes(boxed: Boxed) -> None:
    host = boxed.host
    boxed.box.remove()
    answer = host.apply(*boxed.wanted())
    (problem,) = answer["report"]["problems"]
    assert "this host has no network namespace" in problem
    boxed.box.make()
    wait_until(boxed.reaches, "the new namespace has the interface", 15)
    boxed.box.remake()
    wait_until(boxed.reaches, "the next one has it too", 30)
    assert len(host.tunnels()) == (1 if boxed.kind == "userspace" else 0)

    boxed.box.run("ip", "link", "delete", host.interface)
    wait_until(boxed.reaches, "a device that was removed by hand", 15)

    boxed.box.remove()
    wait_until(lambda: host.tunnels() == [], "no tunnel without its namespace", 15)
    wait_until(lambda: not host.run("ss", "-Hlun").stdout.strip(), "no socket either", 15)


@BOTH
def test_out_and_in_and_away(boxed: Boxed) -> None:
    host = boxed.host
    host.apply(*boxed.wanted(1))
    assert boxed.reaches()
    assert host.apply(*boxed.wanted(2, None))["report"]["problems"] == []
    assert host.pings(boxed.other.v4)
    assert boxed.index() == ""
    host.apply(*boxed.wanted(3))
    assert boxed.reaches()
    bundle, _ = boxed.wanted(4)
    host.apply(replace(bundle, interfaces=()), Secrets())
    assert boxed.index() == ""
    assert host.tunnels() == []
    fleets = host.run("find", "/var/lib/fleet-agent/fleets", "-name", "state.json").stdout
    assert fleets == ""
    assert not json.loads(host.agent("report").stdout)["report"]["observed"]["interfaces"]
    assert not list(Path("/run/fleet-agent/netns").glob(boxed.box.name))
