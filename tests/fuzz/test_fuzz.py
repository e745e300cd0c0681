"""The inputs that are kept, and the fuzzer itself for a few seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.runner import CORPUS, TARGETS, checker, fuzz, kept

SECONDS = 5
SEED = 1
MOST_BYTES = 1 << 20


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept_passes(name: str) -> None:
    check = checker(name)
    files = kept(name)
    assert files
    for file in files:
        try:
            check(file.read_bytes())
        except Exception as error:
            raise AssertionError(f"{file}: {error!r}") from error


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_the_fuzzer_finds_nothing(name: str, tmp_path: Path) -> None:
    run = fuzz(name, SECONDS, SEED, tmp_path)
    assert run.failing is None, f"{run.failing!r}\n{run.log}"
    assert run.exit_code == 0, run.log
    assert "stat::number_of_executed_units" in run.log


def test_the_corpus_stays_small_and_belongs_to_targets() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    assert sum(file.stat().st_size for file in CORPUS.rglob("*")) < MOST_BYTES
