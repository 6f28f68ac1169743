"""Ports of servers that others wrote: a free one, and whether a server answers there."""

import socket


def free_port() -> int:
    """A port of 127.0.0.1 that nothing uses just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def answers(port: int) -> bool:
    """Whether something takes connections there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
