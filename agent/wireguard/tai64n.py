"""TAI64N timestamps as initiations carry them: 12 bytes, big-endian, comparable as bytes.

Nanoseconds are rounded down to 2^24, so that the clock's exact state is nobody else's (noise.c
tai64n_now). Called by peer.
"""

from __future__ import annotations

import struct

_EPOCH = 0x400000000000000A
_GRANULE = 1 << 24
_SECOND = 10**9
_STAMP = struct.Struct(">QI")


def stamp(wall: int, after: bytes) -> bytes:
    """The stamp of `wall` nanoseconds since 1970, or the next one after `after` where that is later.

    A receiver refuses what does not increase, and a clock may step back.
    """
    seconds, nanoseconds = divmod(wall, _SECOND)
    result = _STAMP.pack(_EPOCH + seconds, nanoseconds - nanoseconds % _GRANULE)
    return result if result > after else _next(after)


def _next(after: bytes) -> bytes:
    seconds, nanoseconds = _STAMP.unpack(after)
    nanoseconds += _GRANULE
    if nanoseconds >= _SECOND:
        return _STAMP.pack(seconds + 1, 0)
    return _STAMP.pack(seconds, nanoseconds)
