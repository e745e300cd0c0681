"""The WireGuard protocol without I/O: time, randomness and bytes are arguments, bytes are results.

`device.Device` is the way in. Called by agent.tunnel.
"""
