"""When nft is asked, what is remembered, and what is said where it cannot be done."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, Optional

import pytest

from agent.bundle import Gateway
from agent.egress import Guard
from agent.host.errors import HostError
from agent.host.firewall import Firewall
from agent.host.nftables import MissingError, Nftables, NftError, _generation
from agent.report import ObservedFirewall

CLAMP = Gateway(clamp_mss=True)
MASQUERADE = Gateway(False, ("eth0",), ("10.77.0.0/16",))


class FakeNft(Nftables):
    """Tables by name, each the text that it was loaded with; `asked` counts the runs of nft."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, str] = {}
        self.asked = 0
        self.number: Optional[int] = 1
        self.fails: Optional[Exception] = None

    def load(self, rules: str) -> None:
        self._ask()
        self.number = None if self.number is None else self.number + 1
        name = rules.split()[2]
        self.tables.pop(name, None)
        if "{" in rules:
            self.tables[name] = rules

    def table(self, name: str) -> Optional[list[dict[str, Any]]]:
        self._ask()
        text = self.tables.get(name)
        return None if text is None else [{"rule": {"expr": text, "comment": "a rule"}}]

    def generation(self) -> Optional[int]:
        return self.number

    def _ask(self) -> None:
        self.asked += 1
        if self.fails is not None:
            raise self.fails


def test_what_was_written_is_seen_until_it_is_removed(tmp_path: Path) -> None:
    nft = FakeNft()
    firewall = Firewall(tmp_path, nft)
    firewall.write("wg0", CLAMP)
    assert firewall.observe(["wg0"]) == (ObservedFirewall("wg0", CLAMP),)
    assert Firewall(tmp_path, nft).observe([]) == (ObservedFirewall("wg0", CLAMP),)
    firewall.write("wg0", MASQUERADE)
    assert firewall.observe([]) == (ObservedFirewall("wg0", MASQUERADE),)
    firewall.remove("wg0")
    firewall.remove("wg0")
    assert firewall.observe(["wg0"]) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_guard_is_remembered_too(tmp_path: Path) -> None:
    nft, guard = FakeNft(), Guard(7, ("10.77.0.1",))
    Firewall(tmp_path, nft).write("wg0", CLAMP, guard)
    assert Firewall(tmp_path, nft).observe([]) == (ObservedFirewall("wg0", CLAMP, None, guard),)
    without = Firewall(tmp_path, Nftables(str(tmp_path / "nft")))
    with pytest.raises(HostError, match=r"^wg0: a full tunnel needs the program nft.*take fleet_egress away"):
        without.write("wg0", None, guard)


def test_nft_is_asked_only_if_something_changed(tmp_path: Path) -> None:
    nft = FakeNft()
    firewall = Firewall(tmp_path, nft)
    assert firewall.observe([]) == ()
    assert nft.asked == 0
    firewall.write("wg0", CLAMP)
    firewall.observe([])
    asked = nft.asked
    firewall.observe(["wg0"])
    assert nft.asked == asked
    nft.number = 77
    nft.tables["fleet-wg0"] += "drop"
    assert firewall.observe([]) == (ObservedFirewall("wg0", CLAMP, "changed by hand"),)
    nft.tables.clear()
    nft.number = None
    assert firewall.observe([]) == ()


@pytest.mark.parametrize("memory", [None, b"", b"{}", b"[]", b'{"gateway": {}, "listing": 3}', b"\xff"])
def test_a_table_that_nobody_remembers_is_of_unknown_origin(tmp_path: Path, memory: Optional[bytes]) -> None:
    nft = FakeNft()
    Firewall(tmp_path, nft).write("wg0", CLAMP)
    file = tmp_path / "firewall-wg0"
    file.unlink()
    if memory is not None:
        file.write_bytes(memory)
    (found,) = Firewall(tmp_path, nft).observe(["wg0"])
    assert found == ObservedFirewall("wg0", None, "of unknown origin")


def test_a_host_without_nftables_is_told_what_to_do(tmp_path: Path) -> None:
    firewall = Firewall(tmp_path, Nftables(str(tmp_path / "nft")))
    with pytest.raises(HostError, match=r"^wg0: .* install nftables, .*away from this host\)$"):
        firewall.write("wg0", CLAMP)
    with pytest.raises(HostError, match=r"^wg0: masquerade needs .* install nftables, then apply again$"):
        firewall.write("wg0", MASQUERADE)
    assert firewall.observe(["wg0"]) == ()
    firewall.remove("wg0")


def test_what_nft_refuses_is_said_and_not_remembered(tmp_path: Path) -> None:
    nft = FakeNft()
    nft.fails = NftError("Operation not permitted")
    firewall = Firewall(tmp_path, nft)
    with pytest.raises(HostError, match=r"^wg0: .*: Operation not permitted$"):
        firewall.write("wg0", CLAMP)
    with pytest.raises(HostError, match=r"^wg0: .*: Operation not permitted$"):
        firewall.remove("wg0")
    with pytest.raises(HostError, match=r"^firewall: nft does not tell"):
        firewall.observe(["wg0"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("release", ["5.6.19", "4.18.0-553.el8"])
def test_masquerade_needs_a_kernel_that_knows_where_a_packet_came_in(tmp_path: Path, release: str) -> None:
    firewall = Firewall(tmp_path, FakeNft(), release)
    with pytest.raises(HostError, match=rf"needs Linux 5.7 or newer, and this is {release}"):
        firewall.write("wg0", MASQUERADE)
    firewall.write("wg0", CLAMP)
    Firewall(tmp_path, FakeNft(), "5.10.0-30-amd64").write("wg0", MASQUERADE)


def program(folder: Path, script: str) -> Nftables:
    path = folder / "nft"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Nftables(str(path))


def test_the_program_is_given_everything_at_once_and_read(tmp_path: Path) -> None:
    program(tmp_path, f'echo "$@" > {tmp_path}/args; cat > {tmp_path}/given').load("rules\n")
    assert (tmp_path / "args").read_text() == "-f -\n"
    assert (tmp_path / "given").read_text() == "rules\n"
    listed = '{"nftables": [{"metainfo": {}}, {"table": {"family": "inet", "name": "t"}}]}'
    nft = program(tmp_path, f"echo '{listed}'")
    assert nft.table("other") is None
    assert nft.table("t") == [{"metainfo": {}}, {"table": {"family": "inet", "name": "t"}}]


def test_what_the_program_complains_of_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(NftError, match=r"^Error: no$"):
        program(tmp_path, "echo 'Error: no' >&2; echo more >&2; exit 1").load("")
    with pytest.raises(NftError, match=r"^nft ended with 3$"):
        program(tmp_path, "exit 3").load("")
    for text in ("JSON support not compiled-in", "[]", '{"a": 1}'):
        with pytest.raises(NftError, match=r"^nft prints no JSON"):
            program(tmp_path, f"echo '{text}'").table("t")
    (tmp_path / "nft").chmod(0o644)
    with pytest.raises(NftError, match=r"^nft does not start"):
        Nftables(str(tmp_path / "nft")).load("")
    with pytest.raises(MissingError):
        Nftables(str(tmp_path / "none")).load("")


def test_the_kernels_count() -> None:
    attribute = struct.pack("=HH", 8, 1) + (513).to_bytes(4, "big")
    name = struct.pack("=HH", 7, 3) + b"nft\0"
    head = struct.pack("=IHHII", 0, 10 << 8 | 15, 0, 1, 0) + bytes(4)
    assert _generation(head + attribute) == 513
    assert _generation(head + name + attribute) == 513
    assert _generation(head) is None
    assert _generation(struct.pack("=IHHII", 0, 2, 0, 1, 0) + struct.pack("=i", -1) + attribute) is None
    for size in range(40):
        _generation(os.urandom(size))
        _generation(head + bytes(size))
