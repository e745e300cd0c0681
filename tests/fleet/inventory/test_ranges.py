"""Keys of `hosts`, as Ansible expands them."""

from __future__ import annotations

import pytest

from fleet.inventory.ranges import expand


@pytest.mark.parametrize(
    ("key", "names", "port"),
    [
        ("fra1", ["fra1"], None),
        ("fra1.example.net:2222", ["fra1.example.net"], 2222),
        ("[fd00::1]:2222", ["fd00::1"], 2222),
        ("fd00::1", ["fd00::1"], None),
        ("web[1:3]", ["web1", "web2", "web3"], None),
        ("web[08:10].eu", ["web08.eu", "web09.eu", "web10.eu"], None),
        ("web[1:9:4]", ["web1", "web5", "web9"], None),
        ("web[:1]", ["web0", "web1"], None),
        ("db-[a:c]", ["db-a", "db-b", "db-c"], None),
        ("db-[y:B]", ["db-y", "db-z", "db-A", "db-B"], None),
        ("[a:b][1:2]x", ["a1x", "a2x", "b1x", "b2x"], None),
        ("10.0.0.[1:2]:22", ["10.0.0.1", "10.0.0.2"], 22),
    ],
)
def test_expanded(key: str, names: list[str], port: int | None) -> None:
    assert expand(key) == (names, port)


@pytest.mark.parametrize(
    "key",
    ["", "a b", "ü", "web[1]", "web[1:2", "web[ab:cd]", "web[1:3:0]", "web[1:c]", "web[:]", "a/b", "a,b",
     "!a", "-a", "a.", "web[1:999999999]", "web[1:999][1:999]", "fe80::1%eth0", "fra1:0", "fra1:99999",
     "a" * 254],
)  # fmt: skip
def test_refused_with_a_sentence(key: str) -> None:
    with pytest.raises(ValueError, match=r"host|port"):
        expand(key)
