"""Our userspace tunnel beside another WireGuard program, in one run on one machine. Never a timed test."""
