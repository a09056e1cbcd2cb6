"""Ports of loopback."""

from simulations.processes import free_ports


def free_port() -> int:
    """A port that nobody listens on now."""
    [port] = free_ports(1)
    return port
