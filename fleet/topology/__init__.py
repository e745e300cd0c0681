"""From an inventory and its hosts' identities to a bundle for each host; pure."""
