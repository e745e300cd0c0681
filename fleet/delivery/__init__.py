"""What goes to a host: facts come back, the agent's release and a bundle go out."""
