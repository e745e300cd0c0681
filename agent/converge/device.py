"""A device itself, before its peers: made anew, key, port, mark, MTU. Pure. Called by converge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from agent.bundle import Interface
from agent.converge.words import change, named, step
from agent.operations import AddInterface, RemoveInterface, SetDevice, SetLink, Step
from agent.report import ObservedInterface


def is_misfit(wanted: Interface, actual: Optional[ObservedInterface]) -> bool:
    """Whether a device has to go before the wanted one can be made.

    It does if it is of the other kind, in another network namespace, or hangs.
    """
    if actual is None:
        return False
    return (
        wanted.backend not in ("auto", actual.backend) or wanted.netns != actual.netns or not actual.answers
    )


def made(wanted: Interface, actual: Optional[ObservedInterface]) -> Step:
    """A device where there is none, or a misfit."""
    operation = AddInterface(wanted.name, wanted.backend, instead=actual is not None, netns=wanted.netns)
    expected = _placed(wanted.backend, wanted.netns)
    return step("interface", wanted.name, expected, None if actual is None else _found(actual), operation)


def removed(actual: ObservedInterface) -> Step:
    """A device that nobody wants any more."""
    return step("interface", actual.name, None, _found(actual), RemoveInterface(actual.name))


def _found(actual: ObservedInterface) -> str:
    return _placed(actual.backend, actual.netns) + ("" if actual.answers else ", hangs")


def _placed(backend: str, netns: Optional[str]) -> str:
    return backend if netns is None else f"{backend} in namespace {netns}"


def set_up(wanted: Interface, actual: ObservedInterface) -> Iterator[Step]:
    """What is not as wanted; an MTU that is left to the host is as it should be."""
    name = wanted.name
    if wanted.private_key != actual.private_key:
        expected, found = named(wanted.private_key), named(actual.private_key)
        key = SetDevice(name, private_key=wanted.private_key)
        yield step("device", f"{name} private_key", expected, found, key)
    if wanted.listen_port not in (0, actual.listen_port):
        port = SetDevice(name, listen_port=wanted.listen_port)
        yield step("device", f"{name} listen_port", wanted.listen_port, actual.listen_port or None, port)
    if wanted.fwmark != actual.fwmark:
        mark = SetDevice(name, fwmark=wanted.fwmark)
        yield change("device", f"{name} fwmark", "change", wanted.fwmark, actual.fwmark, mark)
    if wanted.mtu is not None:
        yield from fit(actual, wanted.mtu)


def fit(actual: ObservedInterface, mtu: int) -> Iterator[Step]:
    """Gives an interface this MTU."""
    if mtu != actual.mtu:
        link = SetLink(actual.name, mtu=mtu)
        yield step("interface", f"{actual.name} mtu", mtu, actual.mtu or None, link)
