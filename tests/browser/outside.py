"""A proxy that refuses every connection, and remembers to which hosts a browser tried to connect.

Playwright reports the requests of a page, but not a connection that the browser opens in advance, such as for
`<link rel="preconnect" href="https://…">`. The proxy sees both.
"""

import re
import socket
import threading
from contextlib import suppress

from tests.kit.patience import PATIENCE

_TARGET = re.compile(rb"\w+ (?:\w+://)?([^/ ]+)")

_OF_CHROMIUM = re.compile(r"(?:^|\.)(?:google|googleapis|gvt1|gstatic)\.com(?::\d+)?$")
"""Hosts to which Chromium connects by itself, in spite of its options."""


class Outside:
    """The proxy. `hosts` has the host of each request, in their order, without the hosts of Chromium itself.

    Chromium also opens connections to its proxy and closes them unused, for itself and at any time. They name no host.
    """

    def __init__(self):
        self.hosts = []

    def __enter__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = "http://{}:{}".format(*self._socket.getsockname())
        self._thread = threading.Thread(target=self._serve, name="outside", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self):
        with suppress(OSError):  # the socket was closed
            while True:
                connection, _ = self._socket.accept()
                with connection, suppress(OSError):
                    self._refuse(connection)

    def _refuse(self, connection):
        connection.settimeout(PATIENCE)
        request = connection.recv(8192)
        if not request:
            return
        match = _TARGET.match(request)
        host = match[1].decode(errors="replace") if match else "?"
        if not _OF_CHROMIUM.search(host):
            self.hosts.append(host)
        connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
