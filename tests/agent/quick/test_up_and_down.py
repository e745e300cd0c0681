"""The same files and facts, given to the real wg-quick: it says and calls what is planned, in that order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.operations import AddInterface
from agent.quick.conf import parse, split
from agent.quick.plan import Way, abandon, connect, make, part, remove
from tests.agent.quick import files
from tests.agent.quick.corpus import GOOD
from tests.agent.quick.world import FILE, World, after, changing, planned, real, tell, tell_down

pytestmark = pytest.mark.lab  # wg-quick asks to be root

WORLDS = {
    "nothing known": World(),
    "links": World(
        {"203.0.113.7": Way(None, 1492), "192.0.2.11": Way(None, 1400), "192.0.2.12": Way(1450, 9000)},
        default=Way(None, 1460),
        tables=frozenset({51820, 51821}),
        others=True,
    ),
    "iptables": World(default=Way(1280), tool="iptables", others=True),
}


def check_up_and_down(text: str, world: World) -> None:
    conf, parts = parse(text, FILE), split(text, FILE)
    up = (*make(conf, parts.stripped), *connect(conf, world.facts(conf)))
    with real(text, world) as (fakes, path):
        tell(fakes, conf, world)
        ran = fakes.run("up", path)
        assert (ran.status, *changing(ran)) == (0, *planned(up)), ran.stderr
        facts = after(conf, up, world.others)
        tell_down(fakes, facts)
        Path(path).write_bytes(text.replace("true", "false").replace("TRUE", "false").encode())
        ran = fakes.run("down", path)
    down = (*part(replace(conf, save=False)), *remove(conf, facts))
    assert (ran.status, *changing(ran)) == (0, *planned(down)), ran.stderr


@pytest.mark.parametrize("world", WORLDS.values(), ids=list(WORLDS))
@pytest.mark.parametrize("text", GOOD.values(), ids=list(GOOD))
def test_up_and_down(text: str, world: World) -> None:
    check_up_and_down(text, world)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    mtus = st.one_of(st.none(), st.integers(1280, 9000))
    ways = st.builds(Way, mtus, mtus)
    return World(
        draw(st.dictionaries(st.sampled_from(files.ENDPOINTS), ways)),
        draw(ways),
        frozenset(draw(st.sets(st.sampled_from([51820, 51821, 51823])))),
        draw(st.sampled_from(["nft", "iptables"])),
        draw(st.booleans()),
    )


@settings(max_examples=25, deadline=None)
@given(files.confs(), worlds())
def test_up_and_down_of_generated_files(text: str, world: World) -> None:
    check_up_and_down(text, world)


@pytest.mark.parametrize("name", ["kill_switch", "marked"])
def test_an_up_that_fails_is_undone(name: str) -> None:
    """Whatever it is that fails: what follows in wg-quick is what `abandon` says."""
    text, world = GOOD[name], World(others=True)
    conf, parts = parse(text, FILE), split(text, FILE)
    up = (*make(conf, parts.stripped), *connect(conf, world.facts(conf)))
    lines = planned(up)[0]
    compared = 0
    for number, step in enumerate(up):
        if lines[number] in lines[:number] or isinstance(step, AddInterface):
            continue
        done = up[:number]
        facts = after(conf, done, world.others)
        with real(text, world) as (fakes, path):
            tell_down(fakes, facts)
            tell(fakes, conf, world)
            fakes.answer(failing(lines[number]), status=7)
            ran = fakes.run("up", path)
        said, _ = changing(ran)
        assert ran.status == 7
        assert said[: number + 1] == lines[: number + 1]
        assert said[number + 1 :] == planned(abandon(conf, done, facts))[0], lines[number]
        compared += 1
    assert compared >= len(set(lines)) - 1


def failing(line: str) -> str:
    """The call by which a fake knows that it is to fail."""
    return line.replace("/dev/stdin", "FD").replace("$(wg show wg0 fwmark)", "0xca6c")
