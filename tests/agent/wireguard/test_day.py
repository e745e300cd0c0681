"""A day of simulated time on a bad network."""

from __future__ import annotations

import pytest

from agent.wireguard.messages import RESPONSE
from tests.agent.wireguard.network import Datagram, Network

DAY = 24 * 3600


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_day_of_loss_and_rekeys_delivers_nothing_twice_or_to_the_wrong_peer(seed: int) -> None:
    """A tenth of all datagrams is lost, some come twice or late, and there are minutes with nothing."""
    network = Network(seed)
    nodes = [network.node() for _ in range(3)]
    for one in nodes:
        for other in nodes:
            if one is not other:
                network.acquaint(one, other)
    random = network.random
    outage_until = 0.0

    def weather(datagram: Datagram) -> list[float]:
        if network.now.monotonic < outage_until or random.random() < 0.1:
            return []
        return [0.01 + random.random() ** 8 * 3 for _ in range(random.choice((1, 1, 1, 2)))]

    network.weather = weather
    said: set[bytes] = set()
    heard: set[bytes] = set()
    handshakes = 0
    end = network.now.monotonic + DAY
    while network.now.monotonic < end:
        one, other = random.sample(nodes, 2)
        body = f"{one.address} to {other.address}, {len(said)}".encode()
        said.add(body)
        one.say(other, body)
        if random.random() < 0.001:
            outage_until = network.now.monotonic + random.uniform(0, 300)
        network.run(random.choice((0.0, 0.3, 5.0, random.expovariate(1 / 20))))
        for node in nodes:
            for arrived in node.heard():
                assert arrived in said
                assert arrived not in heard
                assert f" to {node.address},".encode() in arrived
                heard.add(arrived)
            handshakes += sum(datagram.data[0] == RESPONSE for _, datagram in node.sent())
    assert len(heard) > 0.8 * len(said) > 8000
    assert handshakes > 1000
    assert all(node.device.drops["data replayed"] > 500 for node in nodes)
