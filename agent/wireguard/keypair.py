"""The keys of one session, and the three sessions that a peer may have at once.

Refuses to know how keys are agreed on and what is encrypted. Called by handshake, send and receive.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional

from agent.wireguard.aead import Aead
from agent.wireguard.constants import REJECT_AFTER_TIME
from agent.wireguard.messages import DATA
from agent.wireguard.replay import ReplayWindow

if TYPE_CHECKING:
    from agent.wireguard.peer import Peer


class Keypair:
    """Both keys of a session. `born` is monotonic, `counter` that of the next message to be sent.

    `prefix` is what every message that we send begins with. `sends_until` and `receives_until` are
    monotonic; the first passes at once when our own key changes.
    """

    __slots__ = (
        "born",
        "counter",
        "is_initiator",
        "local_index",
        "opener",
        "peer",
        "prefix",
        "receives_until",
        "replay",
        "sealer",
        "sends_until",
    )

    def __init__(
        self,
        peer: Peer,
        local_index: int,
        remote_index: int,
        keys: tuple[bytes, bytes],
        is_initiator: bool,
        born: float,
    ) -> None:
        """`keys`: the initiator's to send with, the responder's to send with."""
        sending, receiving = keys if is_initiator else keys[::-1]
        self.peer = peer
        self.local_index = local_index
        self.prefix = DATA.to_bytes(4, "little") + remote_index.to_bytes(4, "little")
        self.sealer = Aead(sending)
        self.opener = Aead(receiving)
        self.is_initiator = is_initiator
        self.born = born
        self.counter = 0
        self.replay = ReplayWindow()
        self.sends_until = self.receives_until = born + REJECT_AFTER_TIME


class Keypairs:
    """Previous, current and next (noise.c add_new_keypair, wg_noise_received_with_keypair).

    `add` and `clear` return the keypairs that fell out; their indices have to go.
    """

    __slots__ = ("current", "next", "previous")

    def __init__(self) -> None:
        self.previous: Optional[Keypair] = None
        self.current: Optional[Keypair] = None
        self.next: Optional[Keypair] = None

    def __iter__(self) -> Iterator[Keypair]:
        for keypair in (self.previous, self.current, self.next):
            if keypair is not None:
                yield keypair

    def add(self, keypair: Keypair) -> list[Keypair]:
        """An initiator's keypair is in use at once, a responder's waits to be confirmed."""
        before = list(self)
        if keypair.is_initiator:
            self.previous = self.next or self.current
            self.current = keypair
            self.next = None
        else:
            self.previous = None
            self.next = keypair
        return self._lost(before)

    def confirm(self) -> None:
        """Something authentic came under the next keypair: it is the current one now.

        None falls out: there is no previous one while there is a next.
        """
        self.previous, self.current, self.next = self.current, self.next, None

    def clear(self) -> list[Keypair]:
        """None is left, nor, as far as Python can tell, their keys in memory."""
        before = list(self)
        self.previous = self.current = self.next = None
        return before

    def _lost(self, before: list[Keypair]) -> list[Keypair]:
        kept = set(map(id, self))
        return [keypair for keypair in before if id(keypair) not in kept]
