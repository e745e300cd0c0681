"""A device's state as the text of its file, for `save` and for `SaveConfig = true`. Pure.

Source: what wireguard-tools 1.0.20210914 writes: comments are lost, hooks stay as they were. Unlike
there, the domains of DNS are kept, and servers too where nobody can be asked for them: a file keeps its
meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from agent.host.device import DeviceState
from agent.quick.conf import Parts, is_server, words
from agent.wg import config

_KEPT = (("preup", "PreUp"), ("postup", "PostUp"), ("predown", "PreDown"), ("postdown", "PostDown"))
_HEADER = "[Interface]\n"


@dataclass(frozen=True)
class SavedState:
    """An interface as it is. Addresses are IP/LENGTH; `mtu` in bytes.

    `dns_servers` are those that resolvconf has for it, None where it cannot say.
    """

    device: DeviceState
    addresses: tuple[str, ...]
    mtu: int
    dns_servers: Optional[tuple[str, ...]] = None


def render(parts: Parts, state: SavedState) -> str:
    """The file's new text, with the private key in it."""
    own = "".join(f"{line}\n" for line in _lines(parts, state))
    said = config.render(state.device)[len(_HEADER) :].rstrip("\n")
    return f"{_HEADER}{own}{said}\n" if said else f"{_HEADER}{own}"


def _lines(parts: Parts, state: SavedState) -> Iterator[str]:
    yield from (f"Address = {address}" for address in state.addresses)
    said = [word for value in parts.values("dns") for word in words(value)]
    servers = state.dns_servers
    if servers is None:
        servers = tuple(word for word in said if is_server(word))
    yield from (f"DNS = {server}" for server in servers)
    yield from (f"DNS = {word}" for word in said if not is_server(word))
    if parts.last("mtu"):
        yield f"MTU = {state.mtu}"
    if parts.last("table"):
        yield f"Table = {parts.last('table')}"
    if parts.save:
        yield "SaveConfig = true"
    for key, spelt in _KEPT:
        yield from (f"{spelt} = {hook}" for hook in parts.values(key))
