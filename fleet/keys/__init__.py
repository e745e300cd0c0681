"""Custody: private keys sealed at rest, pre-shared keys derived, and the key that seals them."""
