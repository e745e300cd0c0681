"""A WireGuard device in user space: a TUN device, UDP sockets, the UAPI socket, and the loop between them.

What the protocol says is agent.wireguard's. `main.run` is the way in.
"""
