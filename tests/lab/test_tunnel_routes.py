"""Which local address answers a peer, as routing changes."""

from __future__ import annotations

import json
import sys
import time

import pytest

from tests.lab.namespaces import Namespace, wired_pair
from tests.lab.tunnels import PORT, introduce, ping, start

pytestmark = pytest.mark.lab

_ASK = """
import json, socket, sys
from agent.tunnel.routes import Routes
from agent.wireguard.endpoint import Endpoint
def packed(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text) if text else b""
routes = Routes()
answers = [
    routes.interface_to(Endpoint(packed(to), 1, scope, packed(source)), mark)
    for to, scope, source, mark in json.loads(sys.argv[1])
]
print(json.dumps(answers))
"""

Question = tuple[str, int, str, int]
"""To where, its scope, from where, with which mark."""


def ask(space: Namespace, *questions: Question) -> list[int | None]:
    answers: list[int | None] = json.loads(space.output(sys.executable, "-c", _ASK, json.dumps(questions)))
    return answers


def index(space: Namespace, interface: str) -> int:
    return int(json.loads(space.output("ip", "-j", "link", "show", interface))[0]["ifindex"])


def second_wire(left: Namespace, right: Namespace) -> None:
    """Another veth between the two: 198.51.100.1 and .2, 2001:db8:1::1 and ::2."""
    left.run("ip", "link", "add", "wire1", "type", "veth", "peer", "wire1", "netns", right.name)
    for end, space in enumerate((left, right), 1):
        space.run("ip", "address", "add", f"198.51.100.{end}/24", "dev", "wire1")
        space.run("ip", "address", "add", f"2001:db8:1::{end}/64", "dev", "wire1", "nodad")
        space.run("ip", "link", "set", "wire1", "up")


def test_routing_is_asked_as_the_kernel_would_be() -> None:
    with wired_pair() as (left, right):
        second_wire(left, right)
        left.run("ip", "rule", "add", "fwmark", "7", "table", "77")
        left.run("ip", "route", "add", "192.0.2.2", "via", "198.51.100.2", "table", "77")
        wire0, wire1 = index(left, "wire0"), index(left, "wire1")
        assert ask(
            left,
            ("192.0.2.2", 0, "", 0),
            ("192.0.2.2", 0, "192.0.2.1", 0),
            ("192.0.2.2", 0, "192.0.2.1", 7),
            ("192.0.2.2", 0, "203.0.113.1", 0),
            ("203.0.113.1", 0, "", 0),
            ("2001:db8::2", 0, "2001:db8::1", 0),
            ("2001:db8:1::2", 0, "", 0),
            ("fe80::1", wire1, "", 0),
        ) == [wire0, wire0, wire1, None, None, wire0, wire1, wire1]


@pytest.mark.parametrize(
    ("version", "gateway", "expected"),
    [(4, "198.51.100.2", f"198.51.100.1:{PORT}"), (6, "2001:db8:1::2", f"[2001:db8:1::1]:{PORT}")],
)
def test_another_address_answers_when_routing_goes_by_another_interface(
    version: int, gateway: str, expected: str
) -> None:
    with wired_pair() as (left, right):
        second_wire(left, right)
        ours, other = start(left, "ours"), start(right, "wireguard-go")
        introduce(ours, other, version=version)
        assert ping(other, ours.inner4) == 3
        called = other.show("endpoints")
        assert expected not in called

        left.run("ip", "route", "add", "blackhole", "203.0.113.0/24")  # says nothing about our peer
        time.sleep(1)
        assert ping(other, ours.inner4) == 3
        assert other.show("endpoints") == called

        left.run("ip", "route", "add", right.v4 if version == 4 else right.v6, "via", gateway)
        time.sleep(1)
        assert ping(ours, other.inner4) == 3
        assert other.show("endpoints").endswith(expected)
        assert ping(other, ours.inner4) == 3
