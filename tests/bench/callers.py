"""`python -m tests.bench.callers`: a thousand peers, as one process, that call one device.

Job: say how fast it answers. Each caller is a device of the protocol core with a socket and an address of
its own, as a real peer has; what they have to compute beforehand is not in the figures. Parameters are JSON
on standard input, results JSON on standard output. Called by crowd, in a namespace.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from ipaddress import ip_address

from agent.tunnel.main import clock
from agent.wireguard.device import Device
from agent.wireguard.endpoint import Endpoint
from agent.wireguard.messages import RESPONSE, kind
from tests.agent.wireguard.network import each

WINDOW = 64
"""Calls that wait for an answer at a time: too few for the device to think itself under load."""
_GIVE_UP = 60.0
_BETWEEN = 1.0
"""Seconds before anybody calls again: a device ignores one who calls twice in a moment."""


@dataclass
class Caller:
    device: Device
    socket: socket.socket


def main() -> None:
    order = json.load(sys.stdin)
    server, to = bytes.fromhex(order["server"]), (order["address"], order["port"])
    callers = [
        Caller(_device(bytes.fromhex(key), server, to), _socket(order["first_address"], number))
        for number, key in enumerate(order["private_keys"])
    ]
    results = {"handshakes_per_second": len(callers) / _one_after_another(callers, to)}
    time.sleep(_BETWEEN)
    callers = [
        Caller(_device(bytes.fromhex(key), server, to), caller.socket)
        for key, caller in zip(order["private_keys"], callers)
    ]
    results["all_at_once_seconds"] = _all_at_once(callers, to)
    json.dump(results, sys.stdout)


def _device(private_key: bytes, server: bytes, to: tuple[str, int]) -> Device:
    """Down, with the server as its peer."""
    now = clock()
    device = Device(os.urandom)
    device.set_private_key(private_key, now)
    peer = device.add_peer(server, now)
    device.set_endpoint(peer, Endpoint(ip_address(to[0]).packed, to[1]), now)
    device.set_keepalive(peer, 600, now)
    return device


def _socket(first_address: str, number: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((str(ip_address(first_address) + number), 0))
    sock.setblocking(False)
    return sock


def _calls(callers: list[Caller]) -> list[tuple[Caller, bytes]]:
    """Everybody's initiation."""
    for caller in callers:
        caller.device.up(clock())
        caller.device.advance(clock())
    return [(caller, each(caller.device.take())[0].data) for caller in callers]


def _one_after_another(callers: list[Caller], to: tuple[str, int]) -> float:
    """Seconds until all were answered, WINDOW of them at a time. What is lost is called again."""
    waiting = deque(_calls(callers))
    poll = select.epoll()
    sockets = {}
    open_calls: dict[int, tuple[float, bytes]] = {}
    for caller, _ in waiting:
        sockets[caller.socket.fileno()] = caller.socket
        poll.register(caller.socket, select.EPOLLIN)
    begin = time.monotonic()
    while waiting or open_calls:
        while waiting and len(open_calls) < WINDOW:
            caller, call = waiting.popleft()
            caller.socket.sendto(call, to)
            open_calls[caller.socket.fileno()] = (time.monotonic(), call)
        for fd, _ in poll.poll(0.1):
            if kind(sockets[fd].recv(2048)) == RESPONSE:
                open_calls.pop(fd, None)
        if time.monotonic() > begin + _GIVE_UP:
            raise SystemExit(f"{len(waiting) + len(open_calls)} calls are not answered")
    poll.close()
    return time.monotonic() - begin


def _all_at_once(callers: list[Caller], to: tuple[str, int]) -> float:
    """Seconds until everybody who called in the same moment has a session; cookies and retries included."""
    source = Endpoint(ip_address(to[0]).packed, to[1])
    calls = _calls(callers)
    poll = select.epoll()
    by_fd = {caller.socket.fileno(): caller for caller in callers}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    begin = time.monotonic()
    for caller, call in calls:
        caller.socket.sendto(call, to)
    missing = set(by_fd)
    while missing:
        now = clock()
        for fd, _ in poll.poll(0.01):
            caller = by_fd[fd]
            caller.device.receive([(caller.socket.recv(2048), source, 0)], now)
            _send(caller, to)
            (peer,) = caller.device.peers.values()
            if peer.latest_handshake is not None:
                missing.discard(fd)
        for fd in missing:
            caller = by_fd[fd]
            deadline = caller.device.deadline()
            if deadline is not None and deadline <= now.monotonic:
                caller.device.advance(now)
                _send(caller, to)
        if time.monotonic() > begin + _GIVE_UP:
            raise SystemExit(f"{len(missing)} callers have no session")
    return time.monotonic() - begin


def _send(caller: Caller, to: tuple[str, int]) -> None:
    for datagram in each(caller.device.take()):
        caller.socket.sendto(datagram.data, to)


if __name__ == "__main__":
    main()
