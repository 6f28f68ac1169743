"""A mail client behind a load balancer, so that a test can choose the client's IP address."""

import smtplib
import socket
import struct

from tests.kit.patience import PATIENCE


class ProxiedClient(smtplib.SMTP):
    """A client that connects from `address`, which it sends in a PROXY header."""

    def __init__(self, server, address):
        self._address = address
        super().__init__(*server.smtp, timeout=PATIENCE)

    def _get_socket(self, host, port, timeout):
        connection = socket.create_connection((host, port), timeout)
        addresses = socket.inet_aton(self._address) + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 4711, 25)
        connection.sendall(struct.pack("!12sBBH", b"\r\n\r\n\0\r\nQUIT\n", 0x21, 0x11, len(addresses)) + addresses)
        return connection
