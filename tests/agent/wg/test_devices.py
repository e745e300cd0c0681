"""Which device a name means, and which there are."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Optional

import pytest

from agent.host.device import DeviceEdit, DeviceState
from agent.host.userspace import UserspaceDevice
from agent.wg.devices import Devices


class Kernel:
    """Knows wg0, or fails."""

    def __init__(self, fail: Optional[int] = None) -> None:
        self.fail = fail
        self.written: list[DeviceEdit] = []

    def read(self, interface: str) -> DeviceState:
        self._check(interface)
        return DeviceState(listen_port=1)

    def write(self, interface: str, edit: DeviceEdit) -> None:
        self._check(interface)
        self.written.append(edit)

    def _check(self, interface: str) -> None:
        if self.fail is not None or interface != "wg0":
            raise OSError(self.fail or errno.ENODEV, "no")


def listen(stack: ExitStack, path: Path) -> None:
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    listener.listen(1)


def test_names(tmp_path: Path) -> None:
    devices = Devices(UserspaceDevice(tmp_path), Kernel, lambda: ("wg0", "wg1"))
    assert devices.names() == ("wg0", "wg1")
    with ExitStack() as stack:
        for name in ("a.sock", ".sock", "b.other"):
            listen(stack, tmp_path / name)
        (tmp_path / "file.sock").touch()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "dead.sock"))
        assert devices.names() == ("wg0", "wg1", "a")
        assert (tmp_path / "dead.sock").exists()


def test_no_folder_no_names(tmp_path: Path) -> None:
    assert Devices(UserspaceDevice(tmp_path / "none"), Kernel, tuple).names() == ()


def test_the_kernel_has_what_has_no_socket(tmp_path: Path) -> None:
    kernel = Kernel()
    devices = Devices(UserspaceDevice(tmp_path), lambda: kernel)
    assert devices.read("wg0").listen_port == 1
    devices.write("wg0", DeviceEdit(fwmark=3))
    assert kernel.written == [DeviceEdit(fwmark=3)]


def test_a_socket_goes_before_the_kernel(tmp_path: Path) -> None:
    devices = Devices(UserspaceDevice(tmp_path, patience=0.01), Kernel)
    with ExitStack() as stack:
        listen(stack, tmp_path / "wg0.sock")
        with pytest.raises(TimeoutError):
            devices.read("wg0")


@pytest.mark.parametrize("name", ["", "nosuch", "../x", "a/b"])
def test_what_is_no_device(name: str, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with ExitStack() as stack:
        for file in (tmp_path / "x.sock", tmp_path / "f" / ".sock"):
            listen(stack, file)
        devices = Devices(UserspaceDevice(tmp_path / "f"), Kernel)
        for access in (lambda: devices.read(name), lambda: devices.write(name, DeviceEdit())):
            with pytest.raises(OSError) as caught:  # noqa: PT011
                access()
            assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize(("fail", "seen"), [(errno.ENOENT, errno.ENODEV), (errno.EPERM, errno.EPERM)])
def test_a_kernel_without_wireguard_has_no_device(fail: int, seen: int, tmp_path: Path) -> None:
    devices = Devices(UserspaceDevice(tmp_path), lambda: Kernel(fail))
    for access in (lambda: devices.read("wg0"), lambda: devices.write("wg0", DeviceEdit())):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            access()
        assert caught.value.errno == seen
