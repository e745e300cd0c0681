"""How a host is observed and changed: WireGuard devices of both kinds, links, addresses, routes."""
