"""What an authenticated peer seals: the TUN gets the packets that a slow reading of the rules allows."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from agent.wireguard.constants import REJECT_AFTER_MESSAGES, REPLAY_WINDOW
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.packet import checksum
from tests.agent.wireguard.network import Network
from tests.fuzz.reader import Reader

TOKENS = (
    b"\x45\0\0\x14",
    b"\x60\0\0\0\0\0",
    bytes((10, 0, 0, 1)),
    bytes((10, 64, 0, 1)),
    bytes((10, 64, 8, 1)),
    ip_address("fd00::1").packed,
    ip_address("::ffff:10.0.0.1").packed,
    b"\xff" * 8,
    (1 << 60).to_bytes(8, "little"),
)
_OWN = [ip_network(text) for text in ("10.0.0.1/32", "fd00::1/128", "10.64.0.0/10", "fd00:1::/33")]
_OTHERS = [ip_network(text) for text in ("10.64.8.0/23", "fd00:1:0:8::/64", "0.0.0.0/1")]
_EXPLICIT, _OF_ANOTHER_PORT = 1, 2


def check(data: bytes) -> None:
    """Messages in one batch, each: flags, TOS, a counter if flags say so, and what is sealed."""
    network = Network()
    sender, receiver = network.connected()
    peer = receiver.peer(sender)
    stranger = receiver.device.add_peer(bytes(range(32)), network.now)
    for owner, networks in ((peer, _OWN), (stranger, _OTHERS)):
        for prefix in networks:
            receiver.device.allowed_ips.insert(prefix, owner)
    keypair = sender.peer(receiver).keypairs.current
    assert keypair is not None
    reader = Reader(data)
    counter = keypair.counter
    seen = set(range(counter))
    expected: list[tuple[bytes, int]] = []
    counted, endpoint = peer.rx_bytes, peer.endpoint
    batch = []
    while reader:
        flags, tos = reader.number(), reader.number()
        counter = reader.number(8) if flags & _EXPLICIT else (counter + 1) % (1 << 64)
        inner = reader.piece()
        nonce = counter.to_bytes(8, "little")
        message = keypair.prefix + nonce + keypair.sealer.encrypt(bytes(4) + nonce, inner, None)
        source = sender.endpoint._replace(port=9) if flags & _OF_ANOTHER_PORT else sender.endpoint
        batch.append((message, source, tos))
        if counter >= REJECT_AFTER_MESSAGES or counter in seen or counter + REPLAY_WINDOW < max(seen):
            continue
        seen.add(counter)
        endpoint = source
        packet = _allowed(inner)
        if packet is not None:
            expected.append((packet, tos))
        if packet is not None or not inner:
            counted += len(message)
    receiver.device.receive(batch, network.now)
    delivered = receiver.device.take().packets
    assert len(delivered) == len(expected)
    for packet, (sent, tos) in zip(delivered, expected):
        _check_same(packet, sent, tos)
    assert peer.rx_bytes == counted
    assert isinstance(endpoint, Endpoint)
    assert peer.endpoint == endpoint


def _allowed(inner: bytes) -> bytes | None:
    """The packet that is in there, if it is one of the sender's."""
    version = inner[0] >> 4 if inner else 0
    if version == 4 and len(inner) >= 20:
        stated, source = int.from_bytes(inner[2:4], "big"), ip_address(inner[12:16])
        if stated < 20:
            return None
    elif version == 6 and len(inner) >= 40:
        stated, source = int.from_bytes(inner[4:6], "big") + 40, ip_address(inner[8:24])
    else:
        return None
    matching = [prefix for prefix in _OWN + _OTHERS if source in prefix]
    best = max(matching, key=lambda prefix: prefix.prefixlen, default=None)
    return inner[:stated] if stated <= len(inner) and best in _OWN else None


def _check_same(packet: bytes, sent: bytes, tos: int) -> None:
    """Unchanged, but that congestion outside becomes congestion inside where both ends understand it."""
    is_v4 = sent[0] >> 4 == 4
    at = 0 if is_v4 else 4
    ecn = sent[1] >> at & 3
    if tos & 3 != 3 or ecn not in (1, 2):
        assert packet == sent
        return
    assert packet[1] >> at & 3 == 3
    assert packet[1] | 3 << at == sent[1] | 3 << at
    rest = [*range(1), *range(2, 10 if is_v4 else 12), *range(12, len(sent))]
    assert [packet[i] for i in rest] == [sent[i] for i in rest]
    size = (sent[0] & 15) * 4
    if is_v4 and 20 <= size <= len(sent) and checksum(sent[:size]) == 0:
        assert checksum(packet[:size]) == 0
