"""Where a datagram goes to or came from."""

from __future__ import annotations

from typing import NamedTuple


class Endpoint(NamedTuple):
    """An address and port of the peer, and the local address to speak to it from.

    `ip` is 4 or 16 bytes in network order, `scope` an IPv6 scope id. `source` is the local address that
    the peer contacted, as 4 or 16 bytes, and `source_interface` the index of its interface; empty and 0
    leave the choice to routing. With a source alone it is that source, as long as it can be sent from.
    """

    ip: bytes
    port: int
    scope: int = 0
    source: bytes = b""
    source_interface: int = 0

    def without_source(self) -> Endpoint:
        """The same endpoint, with the way there left to routing."""
        return Endpoint(self.ip, self.port, self.scope)

    def as_answer(self) -> Endpoint:
        """The same, for one datagram from the source in any case: what routing says is not worth asking."""
        return Endpoint(self.ip, self.port, self.scope, self.source)
