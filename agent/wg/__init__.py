"""`fleet-agent show`, `setconf` and the like: what wireguard-tools' `wg` does, for hosts without it."""
