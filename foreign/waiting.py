"""Waiting for servers that others wrote, and ports for them."""

import socket
import time

PATIENCE = 60.0
"""Seconds in which something has to happen: ten times what it takes, and more."""


def eventually(look):
    """What `look` gives as soon as it is something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that nothing uses just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def answers(port: int) -> bool:
    """Whether something takes connections there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
