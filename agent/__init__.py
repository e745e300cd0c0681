"""The agent that runs on every host: it keeps a host what its bundle says. Imports nothing of `fleet`."""
