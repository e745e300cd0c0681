"""Words of hosts and files on the terminal."""

from __future__ import annotations

import pytest

from fleet.cli import main as module
from fleet.errors import FleetError
from fleet.views.console import escape, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Köln is up\nand well", "Köln is up\nand well"),
        ("\x1b[2J\x07gone", "\\x1b[2J\\x07gone"),
        ("a\rb", "a\\rb"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\ud800", "\\ud800"),
    ],
)
def test_none_of_them_speaks_to_it(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_brackets_are_no_markup() -> None:
    assert escape("[red]\x1b") == "\\[red]\\x1b"


def test_nor_does_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(standalone_mode: bool) -> None:
        raise FleetError("oslo: \x1b[2J")

    monkeypatch.setattr(module, "app", fail)
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "oslo: \\x1b[2J\n"
