"""Ports of the embedded services."""

from app.dev.instance import free_port, is_free


def test_a_port_is_free_and_not_one_that_outgoing_connections_take():
    ports = {free_port() for _ in range(20)}

    assert len(ports) > 10
    assert all(20_000 <= port < 32_768 and is_free(port) for port in ports)
