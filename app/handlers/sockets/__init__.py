"""What the built-in handlers share when they talk to the network."""
