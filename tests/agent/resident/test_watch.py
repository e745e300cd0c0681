"""The cheap eye on interfaces."""

from __future__ import annotations

import socket
import sys

import pytest

from agent.netns import Place
from agent.resident.watch import Watch, indexes
from tests.lab.namespaces import wired_pair


def test_indexes() -> None:
    places = [Place("lo"), Place("no-such-device0"), Place("lo1", "no-such-namespace")]
    own = (socket.if_nametoindex("lo"),)
    assert indexes(places) == {"lo": own, "no-such-device0": None, "lo1": None}


def test_draining_nothing_does_not_wait() -> None:
    watch = Watch()
    watch.drain()
    watch.drain()
    watch.close()


class FullSocket:
    """Says once that messages were lost, then hands over what is left."""

    def __init__(self) -> None:
        self.left: list[Exception | bytes] = [OSError(105, "no buffer space"), b"message", BlockingIOError()]

    def recv(self, _: int) -> bytes:
        found = self.left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def test_lost_messages_are_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    watch.close()
    full = FullSocket()
    monkeypatch.setattr(watch, "_socket", full)
    watch.drain()
    assert full.left == []


@pytest.mark.lab
def test_a_link_that_goes_away_is_told() -> None:
    code = (
        "import select, sys, agent.resident.watch as w\n"
        "watch = w.Watch()\n"
        "print('listens', flush=True)\n"
        "assert select.select([watch], [], [], 10)[0]\n"
        "watch.drain()\n"
        "print('told', flush=True)\n"
    )
    with wired_pair("watch") as (first, _):
        process = first.start(sys.executable, "-c", code)
        assert process.stdout is not None
        assert process.stdout.readline() == "listens\n"
        first.run("ip", "link", "delete", first.wire)
        assert process.stdout.readline() == "told\n"
