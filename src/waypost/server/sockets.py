"""Binds the sockets on which a server listens for HTTP and mail."""

import os
import socket
from collections.abc import Sequence

from waypost.config.types import Endpoint
from waypost.net.host_names import why_no_address
from waypost.server.opening import CannotStart

BACKLOG = 1024
"""The maximum number of connections that may wait to be accepted."""

HTTP = "http"
"""The name of the setting with the endpoint for HTTP."""

HTTPS = "https"
"""The name of the setting with the endpoints for HTTPS."""

METRICS = "metrics"
"""The name of the setting with the endpoints for the metrics."""


def bind(edge: str, endpoint: Endpoint, *, times: int = 1) -> list[list[socket.socket]]:
    """Bind sockets to an endpoint, `times` times. The operating system distributes the connections among them.

    Each inner list contains one socket for each address of the endpoint's host. If `times` is more than 1, the sockets
    listen already, so that no other server can use the same port. For port 0, the operating system chooses a port.
    `edge` is the name of the setting with the endpoint. Raises `CannotStart`.
    """
    try:
        return _bind(endpoint, _addresses(edge, endpoint), times)
    except (socket.gaierror, UnicodeError) as error:
        raise CannotStart(
            f"Cannot listen on {endpoint}: {why_no_address(error)}. With --{edge}, name an address of this "
            f"machine, such as 127.0.0.1:{endpoint.port}."
        ) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CannotStart(f"Cannot listen on {endpoint}: {reason}. Choose another address with --{edge}.") from error


def _addresses(edge: str, endpoint: Endpoint) -> Sequence[tuple[socket.AddressFamily, str]]:
    """Return the address families and IP addresses of an endpoint. HTTP uses only the first one."""
    host, port = endpoint
    family = socket.AF_UNSPEC if edge != HTTP or ":" in host else socket.AF_INET
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = list(dict.fromkeys((each[0], str(each[4][0])) for each in found))
    return addresses[:1] if edge == HTTP else addresses


def _bind(
    endpoint: Endpoint, addresses: Sequence[tuple[socket.AddressFamily, str]], times: int
) -> list[list[socket.socket]]:
    opened: list[list[socket.socket]] = [[] for _ in range(times)]
    try:
        for family, address in addresses:
            port = endpoint.port
            if times > 1:
                # Sockets that share a port can also share it with another server of the same user. A socket that does
                # not share ports finds such a server.
                with _bound(family, address, port) as alone:
                    port = alone.getsockname()[1]
            for sockets in opened:
                sockets.append(_bound(family, address, port, is_shared=times > 1))
    except OSError:
        for bound in (each for sockets in opened for each in sockets):
            bound.close()
        raise
    return opened


def _bound(family: socket.AddressFamily, address: str, port: int, *, is_shared: bool = False) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that a server can restart at once
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
        if is_shared:
            bound.listen(BACKLOG)  # otherwise, another socket could be bound to the same port
    except OSError:
        bound.close()
        raise
    return bound
