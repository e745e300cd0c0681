"""The replay window: every counter once, and none that is too old (RFC 6479; receive.c counter_validate).

Called for every data message that was authentic, and only then.
"""

from __future__ import annotations

from agent.wireguard.constants import REJECT_AFTER_MESSAGES, REPLAY_WINDOW

_WORDS = REPLAY_WINDOW // 64 + 1


class ReplayWindow:
    """A ring of 128 words of 64 bits, one bit a counter; 8128 behind the highest counter are usable."""

    __slots__ = ("_highest", "_words")

    def __init__(self) -> None:
        self._highest = -1
        self._words = [0] * _WORDS

    def accept(self, counter: int) -> bool:
        """Whether `counter` is new; it is not from now on."""
        highest = self._highest
        if counter > highest:
            if counter >= REJECT_AFTER_MESSAGES:
                return False
            if counter >> 6 != highest >> 6:
                self._advance(counter >> 6)
            self._highest = counter
        elif counter + REPLAY_WINDOW < highest:
            return False
        place = (counter >> 6) % _WORDS
        bit = 1 << (counter & 63)
        word = self._words[place]
        if word & bit:
            return False
        self._words[place] = word | bit
        return True

    def _advance(self, word: int) -> None:
        """Clears what the words between the highest and `word` said about counters long past."""
        last = self._highest >> 6
        for passed in range(max(last + 1, word - _WORDS + 1), word + 1):
            self._words[passed % _WORDS] = 0
