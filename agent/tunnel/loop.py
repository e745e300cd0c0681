"""The loop of a tunnel: packets, datagrams, timers, the link and control requests, each in its turn.

Job: wait for whatever comes first, move bytes between the TUN, the device and the UDP sockets in batches,
and give every turn to all of them, so that none can starve another. Decides nothing about the protocol.
Called by main.
"""

from __future__ import annotations

import math
import os
import select
from collections.abc import Callable, Sequence
from typing import Optional

from agent.tunnel.coalesce import PLAIN, coalesce
from agent.tunnel.control import ControlSocket
from agent.tunnel.link import LinkWatch
from agent.tunnel.routes import Routes
from agent.tunnel.tun import DeviceGoneError, Tun
from agent.tunnel.udp import UdpSockets
from agent.wireguard.clock import Time
from agent.wireguard.device import Device

BATCH = 64
"""Packets, and datagrams of each address family, that one turn takes up at most; and the rest of a row.

It begins with one, as most often there are no more, and to find out that nothing is left costs more than to
be told when something is; where something is left turn after turn, turns take up more and more.
"""

FLOOD_BATCH = 256
"""Datagrams while handshake messages wait, which are cheap to look at: data stands behind more of them."""

_MOST_EVENTS = 16
"""More than there are file descriptors; epoll has room for 1023 made each time, if not told."""

LOOK = 0.5
"""Seconds between looks at what nobody wakes us for: only a port that is taken, on a usual system."""


class Loop:
    """Runs one device until it is asked to end.

    `stop` is a file descriptor that becomes readable when the process should end; `say` takes one line for
    the operator.
    """

    def __init__(
        self,
        device: Device,
        tun: Tun,
        watch: LinkWatch,
        routes: Routes,
        sockets: UdpSockets,
        control: ControlSocket,
        clock: Callable[[], Time],
        stop: int,
        say: Callable[[str], None],
    ) -> None:
        self._device = device
        self._tun = tun
        self._watch = watch
        self._routes = routes
        self._sockets = sockets
        self._control = control
        self._clock = clock
        self._stop = stop
        self._say = say
        self._next_look = -math.inf
        self._patience: Optional[float] = 0.0
        self._limits: dict[int, int] = {}
        self._control_is_busy = False
        self._complaint = ""
        self._epoll = select.epoll()
        for source in (tun.fd, watch, routes, control, stop):
            self._epoll.register(source, select.EPOLLIN)
        sockets.register_with(self._epoll)
        device.carry_out_with(sockets.send, self._deliver)

    def run(self) -> None:
        """Returns when the process was asked to end, the device removed, or the control socket deleted."""
        try:
            while self._turn():
                pass
        except DeviceGoneError:
            pass
        finally:
            self._epoll.close()

    def _turn(self) -> bool:
        """One turn; whether another should follow."""
        rest: list[int] = []
        limits: dict[int, int] = {}
        for fd, _ in self._epoll.poll(self._patience, _MOST_EVENTS):
            if fd == self._tun.fd or fd in self._sockets.filenos:
                before = self._limits.get(fd)
                limits[fd] = 1 if before is None else min(4 * before, BATCH)
            else:
                rest.append(fd)
        self._limits = limits
        now = self._clock()
        is_due = rest or self._control_is_busy or now.monotonic >= self._next_look
        if is_due and not self._attend(rest, now):
            return False
        device = self._device
        packets = limits.pop(self._tun.fd, 0)
        if packets:
            device.send(self._tun.read(packets), now)
        if limits:
            is_flooded = device.deadline() == -math.inf
            datagrams = self._sockets.receive(dict.fromkeys(limits, FLOOD_BATCH) if is_flooded else limits)
            device.receive(datagrams, now)
        if packets:
            limits[self._tun.fd] = packets
        deadline = device.deadline()
        if deadline is not None and deadline <= now.monotonic:
            device.advance(now)
            deadline = device.deadline()
        self._patience = self._time_left(now, deadline)
        return True

    def _time_left(self, now: Time, deadline: Optional[float]) -> Optional[float]:
        """Seconds that nothing needs to be done for; None: until something happens."""
        if self._control_is_busy:
            return 0
        until = self._next_look
        if deadline is not None and deadline < until:
            until = deadline
        return None if until == math.inf else max(0, until - now.monotonic)

    def _attend(self, ready: list[int], now: Time) -> bool:
        """Everything but packets and datagrams; whether to go on."""
        if self._stop in ready:
            return False
        asked = self._control.fileno() in ready
        if asked:
            self._control.handle()
        looks = now.monotonic >= self._next_look
        if (looks or asked) and not self._control.is_present():
            return False
        if self._routes.fileno() in ready:
            self._routes.note_changes()
            self._sockets.forget_ways()
        if looks or self._watch.fileno() in ready:
            self._look(now)
        self._control_is_busy = self._control.step()
        return True

    def _look(self, now: Time) -> None:
        """Makes the device what the link is: up or down, and its MTU."""
        link = self._watch.now()
        self._device.mtu = link.mtu
        self._sockets.set_tunnel_interface(link.interface)
        if link.up and not self._device.is_up:
            self._up(now)
        elif not link.up and self._device.is_up:
            self._device.down(now)
            self._sockets.close()
        waits_for_port = link.up and not self._device.is_up
        if waits_for_port or self._watch.is_deaf or not self._control.is_watched:
            self._next_look = now.monotonic + LOOK
        else:
            self._next_look = math.inf

    def _up(self, now: Time) -> None:
        """Stays down, and is tried again at the next look, while the port belongs to somebody else."""
        try:
            self._sockets.open()
        except OSError as error:
            complaint = f"cannot listen on UDP port {self._sockets.port}: {os.strerror(error.errno or 0)}"
            if complaint != self._complaint:
                self._say(f"{complaint}; set another one with `wg`, or free it")
            self._complaint = complaint
            return
        self._complaint = ""
        self._device.up(now)

    def _deliver(self, packets: Sequence[bytes]) -> None:
        tun = self._tun
        if tun.takes_merged:
            tun.write(coalesce(packets, self._is_delivered_here))
            if not tun.takes_merged:
                self._say("TCP segments are written one by one from now on: the kernel refuses merged ones")
        elif tun.vnet:
            tun.write((PLAIN, packet) for packet in packets)
        else:
            tun.write((packet,) for packet in packets)

    def _is_delivered_here(self, address: bytes) -> bool:
        """Where the device was moved to another network namespace, or may have been, we say no."""
        return self._watch.is_home and self._routes.is_own(address)
