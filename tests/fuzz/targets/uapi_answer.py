"""What a tunnel that may not be ours answers: a device, or EPROTO."""

from __future__ import annotations

import errno

from agent.host.userspace import state

TOKENS = (
    b"private_key=",
    b"listen_port=",
    b"fwmark=",
    b"public_key=",
    b"preshared_key=",
    b"protocol_version=1\n",
    b"endpoint=[fe80::1%lo]:5\n",
    b"last_handshake_time_sec=",
    b"last_handshake_time_nsec=",
    b"tx_bytes=",
    b"rx_bytes=",
    b"persistent_keepalive_interval=",
    b"allowed_ip=10.0.0.0/8\n",
    b"00" * 32,
    b"a7" * 32,
)


def check(data: bytes) -> None:
    """The lines before the errno."""
    lines = [line.partition("=") for line in data.decode("latin-1").split("\n")]
    try:
        device = state((key, value) for key, _, value in lines)
    except OSError as error:
        check_errno(error)
        return
    assert len(device.peers) == sum(key == "public_key" for key, _, _ in lines)
    assert (device.private_key is None) == (device.public_key is None)
    for peer in device.peers:
        assert len(peer.public_key) == 32
        assert peer.preshared_key is None or len(peer.preshared_key) == 32
        assert min(peer.rx_bytes, peer.tx_bytes, peer.latest_handshake_ns, peer.persistent_keepalive) >= 0


def check_errno(error: OSError) -> None:
    """The agent shows it as a sentence."""
    assert error.errno == errno.EPROTO
