"""Free ports, for servers that must have the same ports after a restart, and for programs that cannot choose one."""

import socket


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now. Another program can take it before it is used."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def at_free_ports() -> tuple[str, ...]:
    """Return the options of `waypost serve` for free ports, at which the server can be started again."""
    return ("--http", f"127.0.0.1:{free_port()}", "--smtp", f"127.0.0.1:{free_port()}")
