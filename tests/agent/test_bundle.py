"""What a bundle refuses to say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.bundle import Bundle, Gateway, Route, from_json, to_json
from agent.codec import CodecError
from tests.agent.samples import bundle, interface, peer


def test_what_is_written_is_read() -> None:
    wanted = bundle(3, [interface(peers=(peer(2), peer(3)))], forwarding=True)
    assert from_json(to_json(wanted)) == wanted


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: bundle(1, [interface(), interface(routes=())]), "interface wg0 occurs twice"),
        (lambda: bundle(1, [interface(), interface("wg1")]), "route 10.77.0.0/16 occurs twice"),
        (
            lambda: bundle(
                1, [interface(routes=(Route("10.77.0.0/16"), Route("10.77.0.0/16", "10.77.0.1")))]
            ),
            "route 10.77.0.0/16 occurs twice",
        ),
        (lambda: bundle(1, [interface(peers=(peer(2), peer(2)))]), "peer .* occurs twice"),
        (
            lambda: bundle(1, [interface(peers=(peer(2), peer(3, allowed_ips=("10.77.0.2/32",))))]),
            "allowed_ip 10.77.0.2/32 occurs twice",
        ),
    ],
)
def test_what_could_never_be_reached_is_refused(make: Callable[[], Bundle], said: str) -> None:
    """Two things that take something from each other would do so for ever."""
    with pytest.raises(ValueError, match=said):
        make()


def test_a_gateway_is_part_of_the_digest_and_none_leaves_it_as_it_was() -> None:
    plain = bundle(3, [interface(peers=(peer(2), peer(3)))], forwarding=True)
    assert "gateway" not in to_json(plain)["interfaces"][0]
    assert plain.digest() == "5b712f4f8fe33290b88234b47ac892aed9f4c90c2feb6013e728c87b244590a6"
    clamp = bundle(3, [interface(peers=(peer(2), peer(3)), gateway=Gateway(True))], forwarding=True)
    both = bundle(3, [interface(gateway=Gateway(True, ("eth0",), ("10.77.0.0/16",)))], forwarding=True)
    assert len({plain.digest(), clamp.digest(), both.digest()}) == 3
    assert [from_json(to_json(wanted)) for wanted in (clamp, both)] == [clamp, both]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Gateway, "a gateway that does nothing is none"),
        (lambda: Gateway(False, (), ("10.0.0.0/8",)), "a gateway that does nothing is none"),
        (lambda: Gateway(True, ("eth0",)), "neither is without the other"),
        (lambda: Gateway(True, (), ("10.0.0.0/8",)), "neither is without the other"),
        (lambda: Gateway(False, ('e"; drop',), ("10.0.0.0/8",)), "interface '.*': 1 to 15 letters"),
        (lambda: Gateway(False, ("eth0", "eth0"), ("10.0.0.0/8",)), "masquerade eth0 occurs twice"),
        (lambda: Gateway(False, ("eth0",), ("10.0.0.0/8", "10.0.0.0/8")), "source 10.0.0.0/8 occurs twice"),
        (lambda: Gateway(False, ("eth0",), ("10.0.0.1/8",)), "10.0.0.1/8"),
        (
            lambda: interface(gateway=Gateway(False, ("wg0",), ("10.0.0.0/8",))),
            "masquerade: wg0 leads into the fleet",
        ),
    ],
)
def test_gateways_that_make_no_sense(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


EVERYTHING = Route("0.0.0.0/0", table=7)


def test_a_full_tunnel_has_a_mark_and_its_table_or_a_namespace_of_its_own() -> None:
    wanted = bundle(1, [interface(fwmark=7, routes=(EVERYTHING, Route("::/0", table=7)))])
    assert from_json(to_json(wanted)) == wanted
    interface(netns="blue", routes=(Route("0.0.0.0/0"), Route("::/0")))
    for fields, said in (
        ({"routes": (EVERYTHING,)}, "without a fwmark"),
        ({"fwmark": 254, "routes": (Route("0.0.0.0/0", table=254),)}, "without a fwmark"),
        ({"fwmark": 8, "routes": (EVERYTHING,)}, "the one of the fwmark, 8"),
        ({"fwmark": 7, "routes": (Route("::/0"),)}, "the one of the fwmark, 7"),
        ({"fwmark": 7, "routes": (Route("10.0.0.0/8", table=7),)}, "its table is the main one"),
        ({"fwmark": 7, "netns": "blue", "routes": (EVERYTHING,)}, "its table is the main one"),
    ):
        with pytest.raises(ValueError, match=said):
            interface(**fields)


def test_a_refusal_names_the_place() -> None:
    document = to_json(bundle())
    document["interfaces"][0]["mtu"] = 100
    with pytest.raises(CodecError, match=r"^interfaces\[0\]: mtu: 100 is not between"):
        from_json(document)
