"""What must be remembered between runs: identities, addresses, revisions and what was meant last."""
