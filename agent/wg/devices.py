"""The WireGuard devices of this host, whichever kind they are.

Job: list them, and hand what is asked of one to the client of its kind. As `wg` does, it takes a control
socket that answers for the device, and asks the kernel else; unlike `wg` it removes no dead socket. Refuses
to know what is read or written. Called by wg.main.
"""

from __future__ import annotations

import errno
import os
from typing import Callable, Optional

from agent.host.device import Device, DeviceEdit, DeviceState
from agent.host.userspace import UserspaceDevice

_PATIENCE = 300.0
"""Seconds: somebody waits who can press ^C, and a hundred thousand AllowedIPs take their time."""


def _kernel_device() -> Device:
    from agent.host.kernel import KernelDevice

    return KernelDevice()


def _kernel_names() -> tuple[str, ...]:
    from agent.host.network import Network

    return Network().wireguard_links()


class Devices:
    """The netlink library takes longer to load than all the rest, so `kernel` is called when it is needed."""

    def __init__(
        self,
        userspace: Optional[UserspaceDevice] = None,
        kernel: Callable[[], Device] = _kernel_device,
        kernel_names: Callable[[], tuple[str, ...]] = _kernel_names,
    ) -> None:
        self._userspace = userspace or UserspaceDevice(patience=_PATIENCE)
        self._kernel = kernel
        self._kernel_names = kernel_names

    def names(self) -> tuple[str, ...]:
        """The kernel's first. Raises OSError."""
        return self._kernel_names() + self._userspace.names()

    def read(self, name: str) -> DeviceState:
        """Raises OSError, ENODEV where there is no such device."""
        if self._has_socket(name):
            return self._userspace.read(name)
        try:
            return self._kernel().read(name)
        except FileNotFoundError as error:  # this kernel has no WireGuard
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from error

    def write(self, name: str, edit: DeviceEdit) -> None:
        """Raises OSError, ENODEV where there is no such device; a part may have had its effect by then."""
        if self._has_socket(name):
            self._userspace.write(name, edit)
            return
        try:
            self._kernel().write(name, edit)
        except FileNotFoundError as error:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from error

    def _has_socket(self, name: str) -> bool:
        return bool(name) and "/" not in name and self._userspace.is_alive(name)
