"""How fast our userspace tunnel is beside Debian's wireguard-go, in one run on one machine. Never a test."""
