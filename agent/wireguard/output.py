"""What a device wants done, as values. Carried out by agent.tunnel."""

from __future__ import annotations

from typing import NamedTuple

from agent.wireguard.endpoint import Endpoint


class Datagram(NamedTuple):
    """An outer UDP payload to send; `tos` is the whole TOS / traffic class byte to send it with."""

    endpoint: Endpoint
    data: bytes
    tos: int


class Output(NamedTuple):
    """Datagrams for the network, packets for the TUN, each in order."""

    datagrams: list[Datagram]
    packets: list[bytes]
