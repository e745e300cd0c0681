"""The loop of a tunnel: packets, datagrams, timers, the link and control requests, each in its turn.

Job: wait for whatever comes first, move bytes between the TUN, the device and the UDP sockets in batches,
and give every turn to all of them, so that none can starve another. Decides nothing about the protocol.
Called by main.
"""

from __future__ import annotations

import math
import os
import select
from collections.abc import Callable
from typing import Optional

from agent.tunnel.control import ControlSocket
from agent.tunnel.link import LinkWatch
from agent.tunnel.routes import Routes
from agent.tunnel.tun import DeviceGoneError, Tun
from agent.tunnel.udp import UdpSockets
from agent.wireguard.clock import Time
from agent.wireguard.device import Device

BATCH = 64
"""Packets, and datagrams of each address family, that one turn takes up."""

FLOOD_BATCH = 256
"""Datagrams while handshake messages wait, which are cheap to look at: data stands behind more of them."""

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
        self._control_is_busy = False
        self._complaint = ""
        self._epoll = select.epoll()
        for source in (tun.fd, watch, routes, sockets, control, stop):
            self._epoll.register(source, select.EPOLLIN)

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
        ready = {fd for fd, _ in self._epoll.poll(self._patience())}
        if self._stop in ready:
            return False
        now = self._clock()
        if self._control.fileno() in ready:
            self._control.handle()
        looks = now.monotonic >= self._next_look
        if (looks or self._control.fileno() in ready) and not self._control.is_present():
            return False
        if self._routes.fileno() in ready:
            self._routes.note_changes()
            self._sockets.forget_ways()
        if looks or self._watch.fileno() in ready:
            self._look(now)
        if self._tun.fd in ready:
            self._device.send(self._tun.read(BATCH), now)
        if self._sockets.fileno() in ready:
            limit = FLOOD_BATCH if self._device.deadline() == -math.inf else BATCH
            self._device.receive(self._sockets.receive(limit), now)
        deadline = self._device.deadline()
        if deadline is not None and deadline <= now.monotonic:
            self._device.advance(now)
        self._control_is_busy = self._control.step()
        self._carry_out()
        return True

    def _patience(self) -> Optional[float]:
        """Seconds that nothing needs to be done for; None: until something happens."""
        if self._control_is_busy:
            return 0
        until = self._next_look
        deadline = self._device.deadline()
        if deadline is not None:
            until = min(until, deadline)
        return None if until == math.inf else max(0, until - self._clock().monotonic)

    def _look(self, now: Time) -> None:
        """Makes the device what the link is: up or down, and its MTU."""
        link = self._watch.now()
        self._device.mtu = link.mtu
        self._sockets.tunnel_interface = link.interface
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

    def _carry_out(self) -> None:
        output = self._device.take()
        if output.packets:
            self._tun.write(output.packets)
        if output.datagrams:
            self._sockets.send(output.datagrams)
