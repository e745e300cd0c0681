"""The commands: argv in, a call, a view out. One module a command; what they import, they import late."""
