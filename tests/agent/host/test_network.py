"""Links as the kernel lists them."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import Any, Optional

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from agent.host import network


class Link(dict[str, Any]):
    """A message as the library hands it on; `kind` None is hardware."""

    def __init__(self, name: str, kind: Optional[str]) -> None:
        super().__init__(header={"flags": 0})
        info = None if kind is None else Link.Info(kind)
        self._attributes = {"IFLA_IFNAME": name, "IFLA_LINKINFO": info}

    def get_attr(self, name: str) -> Any:
        return self._attributes[name]

    class Info:
        def __init__(self, kind: str) -> None:
            self._kind = kind

        def get_attr(self, name: str) -> str:
            assert name == "IFLA_INFO_KIND"
            return self._kind


def test_wireguard_devices_are_told_from_other_links(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        def link(self, command: str) -> list[Link]:
            assert command == "dump"
            return [Link("lo", None), Link("wg1", "wireguard"), Link("t0", "tun"), Link("wg0", "wireguard")]

    @contextmanager
    def connected() -> Any:
        yield Kernel()

    monkeypatch.setattr(network, "_open", connected)
    assert network.Network().wireguard_links() == ("wg1", "wg0")


@pytest.mark.parametrize("error", [errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EOPNOTSUPP])
def test_without_ipv6_there_is_no_way_for_it(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    class Kernel:
        def route(self, command: str, **_: Any) -> Any:
            raise NetlinkError(error)  # type: ignore[no-untyped-call]

    @contextmanager
    def connected() -> Any:
        yield Kernel()

    monkeypatch.setattr(network, "_open", connected)
    with network.Network().paths(but=3) as way:
        assert way("2001:db8::1", 7) is None
