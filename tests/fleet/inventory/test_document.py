"""Files to nodes: merge keys, bounds, and errors with a cure."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fleet.errors import Finding
from fleet.inventory.document import MAX_BYTES, read_document


def value(folder: Path, text: str) -> object:
    file = folder / "file.yml"
    file.write_text(text)
    findings: list[Finding] = []
    document = read_document(file, findings)
    assert findings == []
    assert document is not None
    assert document.root is not None
    return document.plain(document.root)


def refusal(folder: Path, data: bytes | str) -> str:
    file = folder / "file.yml"
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    findings: list[Finding] = []
    assert read_document(file, findings) is None
    (finding,) = findings
    return str(finding).removeprefix(f"{file}:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}\n", {"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 3}}),
        ("a: &x {k: 1}\nb: &y {k: 2, l: 2}\nc: {<<: [*x, *y]}\n",
         {"a": {"k": 1}, "b": {"k": 2, "l": 2}, "c": {"k": 1, "l": 2}}),
        ("a: &x [1, 2]\nb: *x\n", {"a": [1, 2], "b": [1, 2]}),
        ("a: yes\nb: 0x10\nc: 1_000\nd: ~\ne: 1.5\n", {"a": True, "b": 16, "c": 1000, "d": None, "e": 1.5}),
        ("a: !vault |\n  $ANSIBLE_VAULT;1.1\n", {"a": {"__ansible_vault": "$ANSIBLE_VAULT;1.1\n"}}),
        ("a: !unsafe '{{ x }}'\nb: !strange x\n", {"a": "{{ x }}", "b": "x"}),
        ("a: 2026-13-45\n", {"a": "2026-13-45"}),
        ("? [a, b]\n: 1\n", {"[a, b]": 1}),
        ("\ufeffa: 1\n", {"a": 1}),
    ],
)  # fmt: skip
def test_values(tmp_path: Path, text: str, expected: object) -> None:
    assert value(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: \xff\n", "1:4: not UTF-8: save the file in that encoding"),
        ("a: \x07\n", "1:4: not YAML: a control character"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document (`---`): an inventory is one"),
        ("a: [b, *.eu]\n", "1:8: YAML takes *.eu for an alias; quote it: '*.eu'"),
        ("a: [b, !eu]\n", "1:8: YAML takes !eu for a tag; quote it: '!eu'"),
        ("a: *eu\n", "1:4: YAML takes *eu for an alias; quote it: '*eu'"),
        ("a: @eu\n", "1:4: YAML reserves @ at the start of a text; quote it: '@eu'"),
        ("a:\n\tb: 1\n", "2:1: not YAML: a tab; indent with spaces"),
        ("a: &a [1, *a]\n", "1:4: contains an alias of itself"),
        ("a: &a {<<: *a}\n", "1:4: contains an alias of itself"),
        ("[core]\nfra1\n", "1:1: this is an INI inventory; "),
        ("# x\nfra1 ansible_host=203.0.113.1 x=[\na: [\n", "1:1: this is an INI inventory; "),
        ("a: " + "[" * 100_000, "1:1003: not YAML: exceeded maximum nesting depth"),
        ("- " * 100_000, "1:"),
    ],
)  # fmt: skip
def test_refusals(tmp_path: Path, data: bytes | str, message: str) -> None:
    assert refusal(tmp_path, data).startswith(message)


def test_a_billion_laughs_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    start = time.monotonic()
    assert "stands for more than" in refusal(tmp_path, "\n".join(lines))
    assert time.monotonic() - start < 60


def test_aliases_nest_no_deeper_than_reading_does(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 5000))]
    assert "goes deeper than 100 levels" in refusal(tmp_path, "\n".join(lines))
    assert "goes deeper than 100 levels" in refusal(tmp_path, "a: " + "[" * 200 + "]" * 200)
    assert value(tmp_path, "a: " + "[" * 90 + "]" * 90)


def test_a_file_that_is_too_large_or_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"#" * (MAX_BYTES + 1)).startswith("1:1: larger than")
    findings: list[Finding] = []
    assert read_document(tmp_path / "none.yml", findings) is None
    assert findings[0].message == "cannot be read: No such file or directory"
