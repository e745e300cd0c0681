"""Timers and sessions of a device against the plain rules, whatever happens to it in which order."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wireguard.clock import Time
from agent.wireguard.device import Device
from tests.agent.wireguard.network import EPOCH, each, packet
from tests.agent.wireguard.plain_timers import NEVER, TICKS, Rules, Sent
from tests.agent.wireguard.puppet import Puppet
from tests.agent.wireguard.test_endpoints import ELSEWHERE

Action = tuple[str, int]


class Trial:
    """A device and the rules, to which the same things happen at the same times.

    Ticks are eighths of a second, which floats add up exactly.
    """

    def __init__(self, jitter: int) -> None:
        self.jitter = jitter
        self.rules = Rules(jitter)
        self.now = 0
        self.names = 0
        self.born = 0
        self.made = 0
        self.sent: list[Sent] = []
        self.device = Device(self.random)
        self.device.set_private_key(b"d" * 32, self.time)
        assert self.device.public_key is not None
        self.puppet = Puppet(self.device.public_key)
        self.device.up(self.time)
        self.peer = self.device.add_peer(self.puppet.static.public, self.time)
        self.device.allowed_ips.insert(ip_network("10.0.0.0/8"), self.peer)
        self.device.set_endpoint(self.peer, ELSEWHERE, self.time)

    def random(self, size: int) -> bytes:
        self.made += 1
        if size == 256:  # jitters
            return (self.jitter * 1000 // TICKS).to_bytes(2, "little") * 128
        return self.made.to_bytes(4, "big") * (size // 4)

    @property
    def time(self) -> Time:
        return Time(1000 + self.now / TICKS, EPOCH + self.now * 10**9 // TICKS)

    def wait(self, ticks: int) -> None:
        end = self.now + ticks
        while True:
            deadline = self.device.deadline()
            at = NEVER if deadline is None else round((deadline - 1000) * TICKS)
            self.now = min(at, self.rules.due())
            if self.now > end:
                break
            self.device.advance(self.time)
            self.rules.act(self.now)
            self.compare()
        self.now = end

    def do(self, action: str, argument: int) -> None:
        getattr(self, action)(argument)
        self.compare()

    def say(self, _: int) -> None:
        self.device.send([packet("10.0.0.1", "10.0.0.2")], self.time)
        self.rules.say(self.now)

    def interval(self, seconds: int) -> None:
        self.device.set_keepalive(self.peer, seconds, self.time)
        self.rules.set_interval(self.now, seconds)

    def call(self, _: int) -> None:
        if self.names and self.now == self.born:
            return  # may be too soon after the one before
        self.born = self.now
        self.names += 1
        self.receive(self.puppet.call(self.names))
        self.rules.hear_call(self.now, self.names)

    def answer(self, back: int) -> None:
        """The last initiation, or one before it."""
        number = len(self.puppet.initiations) - back
        if number < 1:
            return
        self.names += 1
        self.born = self.now
        self.receive(self.puppet.answer(self.names, self.puppet.initiations[number - 1]))
        self.rules.hear_answer(self.now, self.names, number)

    def data(self, back: int) -> None:
        self._hear(back, packet("10.0.0.2", "10.0.0.1"))

    def keepalive(self, back: int) -> None:
        self._hear(back, b"")

    def _hear(self, back: int, inner: bytes) -> None:
        if back < len(self.puppet.sessions):
            session = self.puppet.sessions[-1 - back]
            self.receive(self.puppet.say(session, inner))
            self.rules.hear(self.now, session.name, bool(inner))

    def receive(self, message: bytes) -> None:
        self.device.receive([(message, ELSEWHERE, 0)], self.time)

    def compare(self) -> None:
        for datagram in each(self.device.take()):
            what: str
            name: Optional[int]
            what, name = self.puppet.hear(datagram.data)
            self.sent.append((self.now, what, name))
        assert self.sent == self.rules.sent


Wait = tuple[bool, int]
"""Ticks; whether they count from the latest handshake."""

Step = tuple[Wait, Action]

_now = st.tuples(st.just(False), st.integers(0, 3))
_soon = st.tuples(st.just(False), st.integers(0, 12 * TICKS))
_later = st.tuples(st.just(False), st.integers(0, 700 * TICKS))
_at_an_age = st.tuples(
    st.just(True),
    st.builds(
        lambda seconds, more: seconds * TICKS + more,
        st.sampled_from([5, 10, 120, 165, 180, 540]),
        st.integers(-2, 2),
    ),
)
waits = st.one_of(_now, _soon, _soon, _at_an_age, _at_an_age, _later)


def _action(name: str, *arguments: int) -> st.SearchStrategy[Action]:
    return st.tuples(st.just(name), st.sampled_from(arguments))


_hear = st.one_of(_action("data", 0, 0, 1, 2), _action("keepalive", 0, 0, 1, 2))
actions = st.one_of(
    _action("say", 0),
    _hear,
    _action("answer", 0, 0, 1, 2),
    _action("call", 0),
    _action("interval", 0, 1, 7, 25, 130),
)
segments: st.SearchStrategy[tuple[Step, ...]] = st.one_of(
    st.tuples(st.tuples(waits, actions)),
    st.tuples(st.tuples(waits, _action("say", 0)), st.tuples(_now, _action("answer", 0))),
    st.tuples(st.tuples(waits, _action("call", 0)), st.tuples(_soon, _hear)),
    st.tuples(*(st.tuples(_soon, _hear) for _ in range(3))),
    st.tuples(*(st.tuples(_at_an_age, _hear) for _ in range(2))),
)
stories = st.lists(segments, max_size=25)


def check(jitter: int, story: list[tuple[Step, ...]]) -> Trial:
    trial = Trial(jitter)
    for (is_age, ticks), (action, argument) in (step for segment in story for step in segment):
        trial.wait(max(0, trial.born + ticks - trial.now) if is_age else ticks)
        trial.do(action, argument)
    trial.wait(30 * TICKS)
    return trial


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2), stories)
def test_a_device_does_what_the_rules_say_and_when(jitter: int, story: list[tuple[Step, ...]]) -> None:
    check(jitter, story)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2), stories)
def test_a_device_does_so_in_many_stories(jitter: int, story: list[tuple[Step, ...]]) -> None:
    check(jitter, story)


def test_the_rules_themselves() -> None:
    """The story of one session, so that both cannot be silent together."""
    trial = check(
        1,
        [
            (((False, 0), ("say", 0)), ((False, 1), ("answer", 0))),
            (((False, 8), ("data", 0)),),
            (((True, 125 * TICKS), ("say", 0)), ((False, 1), ("answer", 0))),
        ],
    )
    assert trial.sent == [
        (0, "initiation", None),
        (1, "data", 1),
        (9 + 10 * TICKS, "keepalive", 1),
        (1 + 125 * TICKS, "data", 1),
        (1 + 125 * TICKS, "initiation", None),
        (2 + 125 * TICKS, "keepalive", 2),
    ]


def test_what_came_before_giving_up_provokes_no_keepalive_after_it() -> None:
    at = [(112, "data"), (113, "data"), (116, "data")]
    story: list[tuple[Step, ...]] = [
        (((False, 0), ("call", 0)), ((False, 0), ("data", 0)), ((False, 1), ("say", 0))),
        *((((True, seconds * TICKS), (what, 0)),) for seconds, what in at),
    ]
    trial = check(0, story)
    assert sum(what == "initiation" for _, what, _ in trial.sent) == 20
    assert trial.sent[-1] == (126 * TICKS, "keepalive", 1)
