"""What a kernel is found to take many at a time."""

from __future__ import annotations

import socket

import pytest

from agent.tunnel.offloads import Offloads, missing, probe, unwanted


def test_names_are_done_without() -> None:
    assert not any(probe(Offloads._fields))
    assert probe(unwanted(" gso,")) == probe()._replace(gso=False)
    assert unwanted("") == frozenset()
    with pytest.raises(ValueError, match=r"^FLEET_TUNNEL_WITHOUT: gsp is none of gso, gro, vnet$"):
        unwanted("gsp,gro")


def test_what_is_left_out_on_purpose_is_not_said_to_be_missing() -> None:
    said = list(missing(Offloads(gso=False, gro=False, vnet=True), {"gro"}))
    assert "this kernel has no UDP_SEGMENT" in said[0]
    assert "FLEET_TUNNEL_WITHOUT says so" in said[1]


def test_an_old_kernel_has_none_and_each_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(socket.socket):
        def getsockopt(self, level: int, option: int) -> int:  # type: ignore[override]
            raise OSError(92, "protocol not available")

    monkeypatch.setattr("agent.tunnel.offloads.socket.socket", Old)
    monkeypatch.setattr("agent.tunnel.offloads._tun_has", lambda flag: False)
    found = probe()
    assert found == Offloads(False, False, False)
    lines = list(missing(found))
    assert [line.partition(":")[0] for line in lines] == ["without gso", "without gro", "without vnet"]


def test_nothing_is_said_where_nothing_is_missing() -> None:
    assert list(missing(Offloads(True, True, True))) == []
    (line,) = missing(Offloads(True, False, True))
    assert "UDP_GRO" in line
