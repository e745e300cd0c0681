"""What people and machines read. The only place of the controller that prints; it decides nothing."""
