"""MACs, cookies, load: what a flood of handshakes may cost."""

from __future__ import annotations

import pytest

from agent.wireguard.constants import COOKIE_MAX_AGE, COOKIE_SECRET_MAX_AGE, UNDER_LOAD_FROM
from agent.wireguard.cookie import CookieChecker, CookieJar
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.messages import COOKIE_REPLY, INITIATION, RESPONSE, unpack_cookie_reply
from tests.agent.wireguard.network import LATENCY, Network, Node, each

SOURCE = Endpoint(b"\xc6\x33\x64\x01", 4000)
KEY = b"k" * 32


def _flood(network: Network, node: Node, count: int, source: Endpoint = SOURCE) -> None:
    """Initiations from nobody, as who knows the public key can make them."""
    assert node.device.public_key is not None
    jar = CookieJar(node.device.public_key)
    for _ in range(count):
        message = INITIATION.to_bytes(4, "little") + network.random.randbytes(112)
        node.device.receive([(jar.sign(message, 0.0), source, 0)], network.now)


def _overload(network: Network, node: Node) -> None:
    """As a flood in one batch: the queue is long before a message of it was handled."""
    assert node.device.public_key is not None
    jar = CookieJar(node.device.public_key)
    messages = [
        jar.sign(INITIATION.to_bytes(4, "little") + network.random.randbytes(112), 0.0)
        for _ in range(UNDER_LOAD_FROM + 50)
    ]
    node.device.receive([(message, SOURCE, 0) for message in messages], network.now)


def test_handshakes_at_a_walk_are_answered_without_cookies() -> None:
    network = Network()
    one, other = network.pair()
    _flood(network, other, 600)
    one.say(other, b"hello")
    network.run(0.1)
    assert other.sent(COOKIE_REPLY) == []
    assert other.heard() == [b"hello"]


def test_under_load_a_cookie_is_asked_for_and_opens_the_door() -> None:
    network = Network()
    one, other = network.pair()
    _overload(network, other)
    one.say(other, b"hello")
    network.run(0.2)
    cookies = [datagram for _, datagram in other.sent(COOKIE_REPLY)]
    assert len(cookies) > 1
    assert cookies[-1].endpoint == one.endpoint
    assert len(cookies[-1].data) == 64
    assert {datagram.tos for datagram in cookies} == {0}
    assert other.heard() == []
    assert one.sent()[1:] == []
    # Still under load when the caller tries again, now with a cookie.
    network.run(4.7)
    _overload(network, other)
    network.run(0.6)
    assert other.heard() == [b"hello"]


def test_load_is_over_a_second_after_the_queue_is_short() -> None:
    network = Network()
    one, other = network.pair()
    _overload(network, other)
    network.run(0.9)
    one.say(other)
    network.run(0.05)
    assert other.sent(COOKIE_REPLY)[-1][1].endpoint == one.endpoint
    network.run(0.2)
    without_cookie = network.node()
    network.acquaint(without_cookie, other)
    without_cookie.say(other, b"hello")
    network.run(0.1)
    assert other.heard() == [b"hello"]


def test_responses_need_cookies_too() -> None:
    network = Network()
    one, other = network.pair()
    one.say(other)
    network.run(1.5 * LATENCY)
    _overload(network, one)
    network.run(0.1)
    replies = [datagram for _, datagram in one.sent(COOKIE_REPLY)]
    assert replies[-1].endpoint == other.endpoint
    assert one.peer(other).latest_handshake is None
    assert other.peer(one).cookies.sign(b"", network.now.monotonic)[-16:] != bytes(16)


def test_a_wrong_mac1_is_dropped_in_silence_also_under_load() -> None:
    network = Network()
    one, other = network.pair()
    _overload(network, other)
    network.run(0.5)
    other.sent()
    one.say(other)
    ((_, data, _),) = each(one.device.take())
    for position in (5, 116, 131):
        broken = bytearray(data)
        broken[position] ^= 1
        other.device.receive([(bytes(broken), one.endpoint, 0)], network.now)
    network.run(0.1)
    assert other.sent() == []
    assert other.device.drops["mac1 wrong"] == 3


def test_under_load_a_source_with_a_cookie_has_its_rate() -> None:
    network = Network()
    one, other = network.pair()
    _overload(network, other)
    network.run(0.1)
    reply = next(datagram.data for _, datagram in other.sent(COOKIE_REPLY))
    assert other.device.public_key is not None
    jar = CookieJar(other.device.public_key)
    last = jar.sign(INITIATION.to_bytes(4, "little") + bytes(112), 0.0)
    other.device.receive([(last, SOURCE, 0)], network.now)
    network.run(0.01)
    reply = other.sent(COOKIE_REPLY)[-1][1].data
    assert jar.open(unpack_cookie_reply(reply), 0.0)
    before = other.device.drops["initiation not authentic"]
    for _ in range(20):
        message = jar.sign(INITIATION.to_bytes(4, "little") + network.random.randbytes(112), 0.0)
        other.device.receive([(message, SOURCE, 0)], network.now)
    assert other.device.drops["source over its rate"] == 15
    assert other.device.drops["initiation not authentic"] == before + 5
    assert one.device.drops == {}


def test_data_goes_on_during_a_flood() -> None:
    network = Network()
    one, other = network.connected()
    _overload(network, other)
    one.say(other, b"data")
    network.run(0.02)
    assert other.heard() == [b"data"]


def test_the_queue_has_an_end() -> None:
    network = Network()
    _, other = network.pair()
    assert other.device.public_key is not None
    jar = CookieJar(other.device.public_key)
    message = jar.sign(INITIATION.to_bytes(4, "little") + bytes(112), 0.0)
    other.device.receive([(message, SOURCE, 0)] * 5000, network.now)
    assert other.device.drops["too many handshakes"] == 5000 - 4096
    network.run(0.1)
    assert sum(other.device.drops.values()) == 5000


def test_a_cookie_is_bound_to_address_and_port_and_secret() -> None:
    checker = CookieChecker(KEY, lambda size: b"r" * size)
    jar = CookieJar(KEY)
    message = jar.sign(INITIATION.to_bytes(4, "little") + bytes(112), 0.0)
    assert checker.has_mac1(message)
    assert not checker.has_mac2(message, SOURCE, 0.0)
    assert jar.open(unpack_cookie_reply(checker.reply(message, SOURCE, 0.0)), 0.0)
    message = jar.sign(message[:-32], 0.0)
    assert checker.has_mac2(message, SOURCE, 0.0)
    assert not checker.has_mac2(message, SOURCE._replace(port=4001), 0.0)
    assert not checker.has_mac2(message, SOURCE._replace(ip=b"\xc6\x33\x64\x02"), 0.0)


def test_cookies_and_their_secrets_age() -> None:
    count = 0

    def random(size: int) -> bytes:
        nonlocal count
        count += 1
        return bytes((count,)) * size

    checker = CookieChecker(KEY, random)
    jar = CookieJar(KEY)
    body = RESPONSE.to_bytes(4, "little") + bytes(56)
    reply = checker.reply(jar.sign(body, 0.0), SOURCE, 0.0)
    assert jar.open(unpack_cookie_reply(reply), 0.0)
    just = COOKIE_MAX_AGE - 0.1
    assert checker.has_mac2(jar.sign(body, just), SOURCE, just)
    assert jar.sign(body, COOKIE_MAX_AGE)[-16:] == bytes(16)
    late = jar.sign(body, just)
    assert checker.has_mac2(late, SOURCE, COOKIE_SECRET_MAX_AGE - 0.1)
    assert not checker.has_mac2(late, SOURCE, COOKIE_SECRET_MAX_AGE)


def test_only_one_authentic_reply_to_the_last_message_is_taken() -> None:
    checker = CookieChecker(KEY, lambda size: b"r" * size)
    jar = CookieJar(KEY)
    body = INITIATION.to_bytes(4, "little") + bytes(112)
    reply = unpack_cookie_reply(checker.reply(jar.sign(body, 0.0), SOURCE, 0.0))
    assert not CookieJar(KEY).open(reply, 0.0)
    jar.sign(body + b"other", 0.0)
    assert not jar.open(reply, 0.0)
    jar.sign(body, 0.0)
    assert not jar.open(reply._replace(nonce=bytes(24)), 0.0)
    assert jar.open(reply, 0.0)
    assert not jar.open(reply, 0.0)


@pytest.mark.parametrize("index", [b"\0\0\0\0", None])
def test_cookie_replies_for_nobody_and_false_ones(index: bytes) -> None:
    network = Network()
    one, other = network.connected()
    keypair = one.peer(other).keypairs.current
    assert keypair is not None
    receiver = index or keypair.local_index.to_bytes(4, "little")
    message = COOKIE_REPLY.to_bytes(4, "little") + receiver + bytes(56)
    one.device.receive([(message, SOURCE, 0)], network.now)
    reason = "cookie reply to nothing" if index else "cookie reply not authentic"
    assert one.device.drops == {reason: 1}
    assert one.peer(other).endpoint == other.endpoint


def test_what_was_queued_for_a_key_that_is_gone_is_dropped() -> None:
    network = Network()
    _, other = network.pair()
    _overload(network, other)
    other.device.set_private_key(None, network.now)
    before = sum(other.device.drops.values())
    network.run(1)
    assert other.device.drops["no private key"] == UNDER_LOAD_FROM + 50 - before


@pytest.mark.parametrize("ephemeral", [bytes(32), b"\1" + bytes(31)])
def test_an_ephemeral_of_low_order_is_refused(ephemeral: bytes) -> None:
    network = Network()
    _, other = network.pair()
    assert other.device.public_key is not None
    message = INITIATION.to_bytes(4, "little") + bytes(4) + ephemeral + bytes(76)
    signed = CookieJar(other.device.public_key).sign(message, 0.0)
    other.device.receive([(signed, SOURCE, 0)], network.now)
    assert other.device.drops == {"initiation not authentic": 1}


def test_a_device_that_went_down_forgets_its_queue() -> None:
    network = Network()
    _, other = network.pair()
    _overload(network, other)
    other.device.take()
    other.device.down(network.now)
    network.run(1)
    assert other.sent() == []
    assert other.device.deadline() is None


@pytest.mark.parametrize(("start", "size"), [(1, 147), (1, 149), (2, 91), (2, 93), (0x101, 148), (5, 148)])
def test_a_wrong_length_or_reserved_byte_is_no_message_whatever_its_macs(start: int, size: int) -> None:
    network = Network()
    _, other = network.pair()
    assert other.device.public_key is not None
    message = start.to_bytes(4, "little") + bytes(size - 36)
    signed = CookieJar(other.device.public_key).sign(message, 0.0)
    other.device.receive([(signed, SOURCE, 0)], network.now)
    assert other.device.drops == {"not a message": 1}
