"""What `strip` prints, beside the real wg-quick."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given, settings

from agent.quick.conf import split
from agent.wg.config import ConfigError
from tests.agent.quick import files
from tests.agent.quick.corpus import GOOD, ODD
from tests.agent.quick.world import FILE, World, real

pytestmark = pytest.mark.lab  # wg-quick asks to be root


def check_strip(text: str) -> None:
    with real(text, World()) as (fakes, path):
        ran = fakes.run("strip", path)
    try:
        stripped: Optional[str] = split(text, FILE).stripped + "\n"
    except ConfigError:
        stripped = None
    assert (ran.status == 0, ran.stdout) == (stripped is not None, stripped or "")


@pytest.mark.parametrize("text", [*GOOD.values(), *ODD.values()], ids=[*GOOD, *ODD])
def test_strip(text: str) -> None:
    check_strip(text)


@settings(max_examples=150, deadline=None)
@given(files.scraps())
def test_strip_of_whatever_there_is(text: str) -> None:
    check_strip(text)
