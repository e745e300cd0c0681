"""Where the device is, as far as the kernel tells, seen on the loopback instead of a TUN."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.tunnel.link import _TUNGETDEVNETNS, _TUNGETIFF, LinkWatch

_TUN = -1


@pytest.fixture
def watch() -> Iterator[LinkWatch]:
    watch = LinkWatch(_TUN)
    yield watch
    watch.close()


def _pretend(monkeypatch: pytest.MonkeyPatch, namespace: Callable[[], int]) -> None:
    """A TUN of the name lo, whose network namespace is opened by `namespace`."""
    real = fcntl.ioctl

    def ioctl(fd: Any, request: int, *rest: Any) -> Any:
        if request == _TUNGETIFF:
            return b"lo".ljust(40, b"\0")
        return namespace() if request == _TUNGETDEVNETNS else real(fd, request, *rest)

    monkeypatch.setattr("agent.tunnel.link.fcntl.ioctl", ioctl)


def test_a_device_that_was_not_moved_is_at_home(watch: LinkWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, lambda: os.open("/proc/thread-self/ns/net", os.O_RDONLY))
    link = watch.now()
    assert (link.up, link.interface) == (True, 1)
    assert watch.is_home
    assert not watch.is_deaf


def test_where_the_kernel_does_not_say_the_device_may_be_anywhere(
    watch: LinkWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux before 5.2."""

    def unknown() -> int:
        raise OSError(errno.ENOTTY, "no such request")

    _pretend(monkeypatch, unknown)
    assert watch.now().up
    assert watch.is_deaf
    assert not watch.is_home
