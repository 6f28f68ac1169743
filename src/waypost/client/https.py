"""Connects to the HTTPS address of a running server on this machine."""

import socket
import ssl
from collections.abc import Callable
from http.client import HTTPConnection

from waypost.host.run_file import Run

Connect = Callable[[float], HTTPConnection]
"""Returns a new connection, which connects with its first request. The argument is its time limit in seconds."""


class BadAuthority(Exception):
    """The file with the certificate authority cannot be used. The exception's message is a sentence for people."""


def connecting(run: Run) -> Connect:
    """Return a function that makes connections to the HTTPS address of a running server.

    The client connects to the address on this machine, but verifies the certificate for the name in the server's URLs,
    which may resolve to another address here. It trusts the authority that the server's settings name, or else the
    authorities of the system. Raises `BadAuthority`.
    """
    try:
        context = ssl.create_default_context(cafile=run.https_authority or None)
    except (OSError, ValueError) as error:
        raise BadAuthority(
            f"The certificate authority in {run.https_authority} cannot be read. Correct the file (--https-authority)."
        ) from error
    host, _, port = run.https.rpartition(":")
    address = host.strip("[]"), int(port)
    return lambda seconds: _Secure(run.https_name, address, context, seconds)


class _Secure(HTTPConnection):
    """A connection over TLS to an address, whose Host field and certificate have another name."""

    default_port = 443

    def __init__(self, name: str, address: tuple[str, int], context: ssl.SSLContext, seconds: float) -> None:
        super().__init__(name, address[1], timeout=seconds)
        self._name, self._address, self._context, self._seconds = name, address, context, seconds

    def connect(self) -> None:
        """Connect to the address, and make the TLS handshake."""
        connected = socket.create_connection(self._address, self._seconds)
        try:
            self.sock = self._context.wrap_socket(connected, server_hostname=self._name)
        except BaseException:
            connected.close()
            raise
