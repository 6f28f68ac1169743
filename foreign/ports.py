"""Finds a free port for a server, and checks whether a server accepts connections on a port."""

import socket


def free_port() -> int:
    """Return a port of 127.0.0.1 that no program uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def answers(port: int) -> bool:
    """Return whether a server accepts connections on the port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
