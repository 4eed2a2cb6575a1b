"""What tests stand on: services, real processes, servers to talk to, patience."""
