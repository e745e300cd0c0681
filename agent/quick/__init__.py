"""One interface from one file in wg-quick's format: what the file says, and which steps that takes. Pure."""
