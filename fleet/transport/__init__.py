"""Ways to run commands on a host as root: SSH and this machine itself."""
