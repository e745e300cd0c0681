"""Forwarding: on where it was off, off only where we had switched it on."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from agent.host.errors import HostError
from agent.host.forwarding import Forwarding
from agent.host.switch import MarkValidation

V4, V6 = "ipv4/ip_forward", "ipv6/conf/all/forwarding"


def sysctl(folder: Path, **more: str) -> Path:
    root = folder / "net"
    for name, value in {V4: "0\n", V6: "0\n", "ipv6/conf/eth0/accept_ra": "1\n", **more}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(value)
    return root


def values(root: Path) -> tuple[str, str]:
    return (root / V4).read_text().strip(), (root / V6).read_text().strip()


def test_on_and_off_again(tmp_path: Path) -> None:
    root = sysctl(tmp_path)
    forwarding = Forwarding(root, tmp_path / "run")
    assert not forwarding.is_on()
    forwarding.switch_on()
    assert forwarding.is_on()
    assert values(root) == ("1", "1")
    forwarding.switch_on()
    Forwarding(root, tmp_path / "run").switch_off()
    assert values(root) == ("0", "0")
    assert list((tmp_path / "run").iterdir()) == []


def test_what_was_on_before_us_stays_on(tmp_path: Path) -> None:
    root = sysctl(tmp_path)
    (root / V4).write_text("1\n")
    forwarding = Forwarding(root, tmp_path / "run")
    assert not forwarding.is_on()
    forwarding.switch_on()
    forwarding.switch_off()
    assert values(root) == ("1", "0")


def test_what_the_kernel_switches_on_beside_goes_off_again(tmp_path: Path) -> None:
    redirects = "ipv4/conf/all/accept_redirects"
    for before in ("0", "1"):
        root = sysctl(tmp_path, **{redirects: before})
        forwarding = Forwarding(root, tmp_path / "run")
        forwarding.switch_on()
        (root / redirects).write_text("1")
        forwarding.switch_off()
        assert (root / redirects).read_text() == before


def test_off_without_on_does_nothing(tmp_path: Path) -> None:
    root = sysctl(tmp_path)
    (root / V4).write_text("1\n")
    Forwarding(root, tmp_path / "run").switch_off()
    assert values(root) == ("1", "0")


def test_what_changes_along_is_as_it_was_too(tmp_path: Path) -> None:
    """As the kernel does: it sets the forwarding of every interface, and whether redirects are accepted."""
    along = {
        "ipv4/conf/eth0/forwarding": "1\n",
        "ipv4/conf/eth1/forwarding": "0\n",
        "ipv4/conf/all/accept_redirects": "0\n",
        "ipv6/conf/eth0/forwarding": "1\n",
        "ipv6/conf/eth1/accept_ra": "2\n",
    }
    root = sysctl(tmp_path, **along)
    before = {name: (root / name).read_text().strip() for name in along}
    Forwarding(root, tmp_path / "run").switch_on()
    for name in along:
        (root / name).write_text("1\n")
    shutil.rmtree(root / "ipv4/conf/eth1")  # it is gone meanwhile
    Forwarding(root, tmp_path / "run").switch_off()
    del before["ipv4/conf/eth1/forwarding"]
    assert {name: (root / name).read_text().strip() for name in before} == before
    assert (root / "ipv6/conf/eth0/accept_ra").read_text().strip() == "1"
    assert not (root / "ipv4/conf/eth1").exists()


def test_a_host_without_ipv6(tmp_path: Path) -> None:
    root = tmp_path / "net"
    (root / "ipv4").mkdir(parents=True)
    (root / V4).write_text("0\n")
    forwarding = Forwarding(root, tmp_path / "run")
    forwarding.switch_on()
    assert forwarding.is_on()


def test_router_advertisements_go_on_being_accepted(tmp_path: Path) -> None:
    root = sysctl(tmp_path, **{"ipv6/conf/eth1/accept_ra": "0\n"})
    Forwarding(root, tmp_path / "run").switch_on()
    assert (root / "ipv6/conf/eth0/accept_ra").read_text() == "2"
    assert (root / "ipv6/conf/eth1/accept_ra").read_text() == "0\n"


def test_only_settings_of_ours_are_ever_switched_off(tmp_path: Path) -> None:
    root = sysctl(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/forwarding").write_text("../../elsewhere\nipv4/ip_forward\n")
    (root / V4).write_text("1\n")
    (tmp_path / "elsewhere").write_text("untouched")
    Forwarding(root, tmp_path / "run").switch_off()
    assert values(root) == ("0", "0")
    assert (tmp_path / "elsewhere").read_text() == "untouched"


def test_a_read_only_proc_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = sysctl(tmp_path)
    write = Path.write_text

    def refuse(path: Path, text: str) -> int:
        if path.is_relative_to(root):
            raise OSError(30, "Read-only file system")
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(HostError, match=r"net\.ipv6\.conf\.eth0\.accept_ra=2|net\.ipv4\.ip_forward=1"):
        Forwarding(root, tmp_path / "run").switch_on()


def test_validation_of_marks_is_a_switch_of_its_own(tmp_path: Path) -> None:
    setting = "ipv4/conf/all/src_valid_mark"
    root = sysctl(tmp_path, **{setting: "0\n"})
    validation, forwarding = (kind(root, tmp_path / "run") for kind in (MarkValidation, Forwarding))
    validation.switch_on()
    forwarding.switch_on()
    assert validation.is_on()
    validation.switch_off()
    assert (root / setting).read_text().strip() == "0"
    assert forwarding.is_on()


def test_a_full_disk_costs_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, run = sysctl(tmp_path), tmp_path / "run"
    (root / V6).unlink()
    Forwarding(root, run).switch_on()
    (root / V6).write_text("0\n")

    def full(path: Path, text: str) -> int:
        path.open("w").close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(HostError, match="No space left"):
            Forwarding(root, run).switch_on()
    assert values(root) == ("1", "0")
    Forwarding(root, run).switch_off()
    assert values(root) == ("0", "0")
    assert list(run.iterdir()) == []
