"""`fleet-agent tunnel IFACE`: a WireGuard device in user space, in the foreground, as `wireguard-go -f` is.

Job: make the parts, hand them to the loop, and take everything away at the end. Called by agent.cli.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Optional

from agent.stderr import write
from agent.tunnel.control import ControlSocket
from agent.tunnel.errors import StartError
from agent.tunnel.link import LinkWatch
from agent.tunnel.loop import Loop
from agent.tunnel.offloads import VARIABLE, missing, probe, unwanted
from agent.tunnel.routes import Routes
from agent.tunnel.tun import DEFAULT_MTU, Tun
from agent.tunnel.uapi import Uapi
from agent.tunnel.udp import UdpSockets
from agent.wireguard.clock import Time
from agent.wireguard.device import Device
from agent.wireguard.endpoint import Endpoint

_PR_SET_DUMPABLE = 4  # include/uapi/linux/prctl.h
_INTERFACE = re.compile(r"[A-Za-z0-9_=+.-]{1,15}")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(
    interface: str,
    mtu: int = DEFAULT_MTU,
    started: Callable[[], object] = lambda: None,
    failed: Callable[[str], object] = lambda _: None,
) -> int:
    """Runs until SIGINT, SIGTERM or SIGHUP, or until the device or its control socket is removed.

    `started` is called once nothing can keep it from running any more, `failed` with the reason otherwise.
    The exit status: 0, or 1 where it could not start, which one line on stderr explains.
    """
    try:
        _check_name(interface)
        _occupy_standard_streams()
        _keep_memory_private()
        with _stop_signal() as stop:
            _serve(interface, mtu, stop, started)
    except StartError as error:
        _say(interface, str(error))
        failed(str(error))
        return 1
    return 0


def clock() -> Time:
    """Both clocks now. Sessions go on ageing while the machine sleeps, so the first counts that too."""
    # The constructor of a NamedTuple is a Python function of its own, and this is called for every packet.
    return tuple.__new__(Time, (time.clock_gettime(time.CLOCK_BOOTTIME), time.time_ns()))


def _serve(interface: str, mtu: int, stop: int, started: Callable[[], object]) -> None:
    """The control socket comes last: who sees it may rely on the rest."""
    try:
        without = unwanted(os.environ.get(VARIABLE, ""))
    except ValueError as error:
        raise StartError(str(error)) from None
    with ExitStack() as stack:
        offloads = probe(without)
        tun = stack.enter_context(closing(Tun(interface, mtu, offloads.vnet)))
        watch = stack.enter_context(closing(LinkWatch(tun.fd)))
        routes = stack.enter_context(closing(Routes()))
        device = Device(os.urandom, mtu)
        beyond = partial(_endpoint_beyond, device)
        say = partial(_say, interface)
        sockets = stack.enter_context(closing(UdpSockets(routes.interface_to, beyond, offloads, say)))
        uapi = Uapi(device, sockets, clock)
        control = stack.enter_context(closing(ControlSocket(interface, uapi.serve)))
        started()
        for line in missing(offloads, without):
            say(line)
        Loop(device, tun, watch, routes, sockets, control, clock, stop, say).run()


def _endpoint_beyond(device: Device, address: bytes) -> Optional[Endpoint]:
    """Where packets to an inner address are sent."""
    lookup = device.allowed_ips.lookup4 if len(address) == 4 else device.allowed_ips.lookup6
    peer = lookup(address)
    return peer.endpoint if peer else None


def _check_name(interface: str) -> None:
    """It becomes a part of a path and of a struct ifreq."""
    if not _INTERFACE.fullmatch(interface) or interface in (".", ".."):
        raise StartError("an interface name has 1 to 15 letters, digits or any of _ = + . -")


def _occupy_standard_streams() -> None:
    """What is opened later must not get a number that somebody prints to."""
    for fd in range(3):
        try:
            fcntl.fcntl(fd, fcntl.F_GETFD)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _keep_memory_private() -> None:
    """No core file, and no debugger without root's right to one: our memory has private keys in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


@contextmanager
def _stop_signal() -> Iterator[int]:
    """A file descriptor that becomes readable when a signal asks the process to end."""
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    former = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    try:
        yield readable
    finally:
        signal.set_wakeup_fd(former)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(readable)
        os.close(writable)


def _say(interface: str, line: str) -> None:
    write(f"fleet-agent tunnel {interface}: {line}\n")
