"""What an owner has a node do while it runs: the same for a command, and for the console's endpoints."""
