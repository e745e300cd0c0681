"""The protocol's constants. Times in seconds, sizes in bytes, unless a name says otherwise.

Source: whitepaper sections 5.4 and 6.1; where the Linux module is more exact, drivers/net/wireguard.
"""

from __future__ import annotations

KEY_SIZE = 32

REKEY_AFTER_MESSAGES = 1 << 60
REPLAY_WINDOW = 8128
REJECT_AFTER_MESSAGES = (1 << 64) - 1 - REPLAY_WINDOW - 1
"""The first counter that is refused (messages.h)."""

REKEY_AFTER_TIME = 120.0
REJECT_AFTER_TIME = 180.0
REKEY_TIMEOUT = 5.0
KEEPALIVE_TIMEOUT = 10.0
REKEY_ON_RECEIVE_AFTER_TIME = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
ERASE_AFTER_TIME = 3 * REJECT_AFTER_TIME
MAX_JITTER_MS = 333
MAX_HANDSHAKE_ATTEMPTS = 90 // 5
"""REKEY_ATTEMPT_TIME / REKEY_TIMEOUT. Retries go on while no more than this were made (timers.c)."""

COOKIE_SECRET_MAX_AGE = 120.0
COOKIE_MAX_AGE = COOKIE_SECRET_MAX_AGE - 5.0
"""For how long a received cookie is used; the five seconds are its way here (cookie.c)."""

INITIATION_INTERVAL = 1 / 50
"""Initiations of one peer that come faster are dropped (noise.c)."""

HANDSHAKES_PER_SECOND = 20
HANDSHAKE_BURST = 5
"""What one source may ask for under load (ratelimiter.c)."""

MAX_QUEUED_HANDSHAKES = 4096
UNDER_LOAD_FROM = MAX_QUEUED_HANDSHAKES // 8
UNDER_LOAD_LINGERS = 1.0

MAX_STAGED_PACKETS = 128
PADDING_MULTIPLE = 16
HANDSHAKE_TOS = 0x88
"""AF41 (messages.h)."""

MAX_KEEPALIVE = 65535
MAX_PEERS = 1 << 20
"""Of one device (messages.h)."""
