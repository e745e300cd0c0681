"""Real hosts on this machine: namespaces, OpenSSH servers, NAT, clients. Called by the lab commands."""
