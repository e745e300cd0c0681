"""What a bundle refuses to say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.bundle import Bundle, Route, from_json, to_json
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


def test_a_refusal_names_the_place() -> None:
    document = to_json(bundle())
    document["interfaces"][0]["mtu"] = 100
    with pytest.raises(CodecError, match=r"^interfaces\[0\]: mtu: 100 is not between"):
        from_json(document)
