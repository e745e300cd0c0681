"""Every file of inventories/broken says in its comments what is found in it: exactly that is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet.intent import examine

BROKEN = Path(__file__).parents[3] / "inventories" / "broken"
FILES = sorted(BROKEN.iterdir())
PROMISED = (
    "bad-address",
    "address-outside-pools",
    "two-hosts-one-address",
    "overlapping-subnets",
    "unknown-group",
    "spoke-without-hub",
    "link-between-nat",
    "nat-pair-without-transit",
    "two-hosts-one-endpoint",
    "pool-too-small",
    "typo-in-key",
    "duplicate-keys",
    "unquoted-alias",
    "unquoted-anchor",
    "unquoted-tag",
    "not-yaml",
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_exactly_what_the_file_says_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BROKEN)
    expected = re.findall(r"^# expect (.*)$", file.read_text(), re.MULTILINE)
    assert expected
    found = [str(finding) for finding in examine(Path(file.name)).findings]
    assert found == [f"{file.name}:{line}" for line in expected]


def test_every_promised_error_has_a_file() -> None:
    assert set(PROMISED) <= {file.stem for file in FILES}
