"""Names within a time limit."""

from __future__ import annotations

import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from agent.host import resolve
from agent.host.device import SocketAddress
from agent.host.resolve import MOST_AT_ONCE, ResolveError, Resolver


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("192.0.2.1:51820", SocketAddress("192.0.2.1", 51820)),
        ("[2001:db8::1]:51820", SocketAddress("2001:db8::1", 51820)),
        ("[fe80::1%1]:5", SocketAddress("fe80::1", 5, 1)),
        ("[fe80::1%lo]:5", SocketAddress("fe80::1", 5, socket.if_nametoindex("lo"))),
    ],
)
def test_addresses_need_no_resolver(endpoint: str, address: SocketAddress) -> None:
    assert Resolver().resolve(endpoint) == address


def test_the_first_answer_is_the_one_that_the_host_prefers() -> None:
    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        assert host == "oslo.example.net"
        return [(0, 0, 0, "", ("2001:db8::7", port, 0, 0)), (0, 0, 0, "", ("192.0.2.7", port))]

    assert Resolver(lookup).resolve("oslo.example.net:5") == SocketAddress("2001:db8::7", 5)


def test_a_name_that_does_not_exist_says_so() -> None:
    def lookup(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(ResolveError, match="Name or service not known"):
        Resolver(lookup).resolve("nosuch.example.net:5")


def test_a_label_that_is_too_long_is_an_answer_too() -> None:
    with pytest.raises(ResolveError):
        Resolver().resolve("x" * 70 + ".example.net:5")


def test_a_resolver_that_hangs_costs_its_limit_and_then_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "SHORT_LIMIT", 0.01)
    release = threading.Event()

    def lookup(*_: Any, **__: Any) -> Any:
        release.wait(20)
        raise OSError

    resolver = Resolver(lookup, limit=0.3)
    waits = []
    try:
        for _ in range(3):
            start = time.monotonic()
            with pytest.raises(ResolveError, match="does not answer"):
                resolver.resolve("oslo.example.net:5")
            waits.append(time.monotonic() - start)
    finally:
        release.set()
    assert waits[0] >= 0.3
    assert min(waits[1:]) < 0.3


def test_looking_up_does_not_wait() -> None:
    answer = threading.Event()

    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        answer.wait(10)
        return [(0, 0, 0, "", ("192.0.2.7", port))]

    resolver = Resolver(lookup)
    assert resolver.look_up("oslo.example.net:5") is None
    answer.set()
    found = None
    while found is None:
        found = resolver.look_up("oslo.example.net:5")
    assert found == SocketAddress("192.0.2.7", 5)


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def lookup(*_: Any, **__: Any) -> Any:
        answer.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    resolver = Resolver(lookup)
    assert resolver.look_up("oslo.example.net:5") is None
    monkeypatch.setattr(resolve, "_LONGEST", 0.0)
    with pytest.raises(ResolveError, match="does not answer"):
        resolver.look_up("oslo.example.net:5")
    answer.set()


def test_a_host_that_is_cut_off_does_not_ask_for_everybody_at_once() -> None:
    answer = threading.Event()
    asked: list[str] = []

    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        answer.wait(10)
        return [(0, 0, 0, "", ("192.0.2.7", port))]

    resolver = Resolver(lookup)
    endpoints = {f"host{number}.example.net:{number + 1}" for number in range(100)}
    for _ in range(3):
        assert {resolver.look_up(endpoint) for endpoint in endpoints} == {None}
    assert len(asked) <= MOST_AT_ONCE
    answer.set()
    while endpoints:
        endpoints = {endpoint for endpoint in endpoints if resolver.look_up(endpoint) is None}
    assert len(asked) == len(set(asked)) == 100


def test_an_answer_that_nobody_came_for_is_not_given_later(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    addresses = iter(("192.0.2.1", "192.0.2.2"))
    now, asked = [0.0], threading.Event()

    def lookup(_: str, port: int, **__: Any) -> list[Any]:
        asked.wait(10)
        return [(0, 0, 0, "", (next(addresses), port))]

    monkeypatch.setattr(resolve, "time", SimpleNamespace(monotonic=lambda: now[0]))
    resolver = Resolver(lookup)
    assert resolver.look_up("oslo.example.net:5") is None
    asked.set()
    while threading.active_count() > before:
        pass
    now[0] = 3600.0
    found = None
    while found is None:
        found = resolver.look_up("oslo.example.net:5")
    assert found == SocketAddress("192.0.2.2", 5)
