"""How removal is asked for, and what the answers are worth."""

from __future__ import annotations

import json
import shlex

import pytest

from agent import places
from agent.bundle import Bundle
from fleet.delivery.onhost.remove import Request
from fleet.delivery.remove import Removed, Traces, look, remove
from fleet.transport.base import Completed, TransportError
from tests.fleet.delivery.made import FakeTransport

FLEET = "f" * 32
EMPTY = Bundle(1, FLEET, "acme", "fra1", 3, ())
PYTHON = "/usr/bin/python3"


def answer(**values: object) -> Completed:
    return Completed(0, json.dumps(values).encode(), "")


def test_a_host_is_looked_at() -> None:
    seen = {
        "places": ["/opt/fleet-agent"],
        "fleets": [FLEET],
        "interfaces": ["wg0"],
        "undone": ["forwarding"],
    }
    transport = FakeTransport(answer(ok=True, **seen))
    assert look(transport, PYTHON, FLEET, ["wg0"]) == Traces(
        ("/opt/fleet-agent",), (FLEET,), ("wg0",), ("forwarding",)
    )
    words = shlex.split(transport.commands[0])
    assert [*words[:3], words[-1]] == [PYTHON, "-I", "-c", "look"]
    request = Request(**json.loads(transport.inputs[0]))
    assert (request.interfaces, request.bundle) == (["wg0"], None)
    assert request.put == {name: list(values) for name, values in places.PUT.items()}


@pytest.mark.parametrize("kept", [True, False])
def test_the_bundle_goes_on_standard_input(kept: bool) -> None:
    transport = FakeTransport(answer(ok=True, kept=kept))
    assert remove(transport, PYTHON, FLEET, EMPTY, last_word=False) == Removed(kept)
    assert json.loads(transport.inputs[0])["bundle"]["revision"] == 3
    assert FLEET not in transport.commands[0]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer(ok=False, error="wg0 is busy"), "fra1: wg0 is busy"),
        (Completed(127, b"", "sh: 1: python3: not found\n"), "exit code 127.*python3: not found"),
        (Completed(0, b"[]", ""), "nothing can be removed"),
        (answer(ok=True, kept="perhaps"), "makes no sense"),
        (answer(ok=True, kept=True, more=1), "makes no sense"),
    ],
)
def test_answers_that_are_none(said: Completed, error: str) -> None:
    for last_word in (True, False):
        with pytest.raises(TransportError, match=error):
            remove(FakeTransport(said), PYTHON, FLEET, EMPTY, last_word)


class Gone(FakeTransport):
    """The connection goes."""

    def run(self, command: str, *, stdin: bytes = b"", timeout: float) -> Completed:
        raise TransportError(self.host, "failed", f"no answer within {timeout:g} s")


def test_silence_is_an_answer_where_the_way_goes_with_the_fleet() -> None:
    gone = Gone(answer())
    assert remove(gone, PYTHON, FLEET, EMPTY, last_word=True) is None
    with pytest.raises(TransportError, match="no answer"):
        remove(gone, PYTHON, FLEET, EMPTY, last_word=False)
    with pytest.raises(TransportError, match="no answer"):
        look(gone, PYTHON, FLEET, [])
