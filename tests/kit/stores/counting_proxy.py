"""A proxy in front of PostgreSQL that counts round trips, and that can delay, hang or cut connections."""

import socket
import tempfile
import threading
import time
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

CHUNK = 1 << 16


@dataclass(frozen=True)
class Counts:
    """The totals of all connections since the start or the last `reset`."""

    round_trips: int = 0
    """The number of times that the client sent something, in any number of pieces, and the server answered."""
    octets_from_client: int = 0
    octets_from_server: int = 0
    connections: int = 0


class CountingProxy:
    """Listens on a Unix socket that libpq finds with `host=proxy.directory`, and relays to `target`.

    The target is the path of a Unix socket, or a host and a port. Bytes are counted before they are relayed, so the
    counts include every answer that a client has received.
    """

    def __init__(self, target: str | Path | tuple[str, int]):
        self._target = target
        self._counts = Counts()
        self._changed = threading.Condition()
        self.delay = 0.0
        """The delay of each part, in seconds."""
        self._held = False
        self._closing = False
        self._connections: list[_Connection] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="waypost-proxy-")
        self.directory = self._temporary.name
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self.directory}/.s.PGSQL.5432")
        self._listener.listen(128)
        self._run(self._accept)
        return self

    def __exit__(self, *_):
        self._closing = True
        with socket.socket(socket.AF_UNIX) as waking:
            waking.connect(self._listener.getsockname())
            self._threads[0].join()
        self.cut()
        for thread in self._threads[1:]:
            thread.join()
        self._listener.close()
        self._temporary.cleanup()

    def url(self, url: str) -> str:
        """Return the URL of the same database through the proxy."""
        parts = urllib.parse.urlsplit(url)
        user = parts.netloc.rpartition("@")[0] or "postgres"
        return f"{parts.scheme}://{user}@{parts.path}?host={urllib.parse.quote(self.directory, safe='')}"

    @property
    def counts(self) -> Counts:
        with self._changed:
            return self._counts

    def reset(self) -> None:
        """Count from zero."""
        with self._changed:
            self._counts = Counts()

    def cut(self) -> None:
        """Close all connections immediately. New connections are accepted."""
        with self._changed:
            for connection in self._connections:
                connection.sever()
            self._connections.clear()
            self._changed.notify_all()

    def hold(self) -> None:
        """Stop relaying, like a network that hangs."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        """Relay the bytes that were held back, and continue relaying."""
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def _run(self, function, *arguments) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._closing:
                return client.close()
            try:
                server = self._connect()
            except OSError:  # there is no server, so the client's connection is closed
                client.close()
                continue
            connection = _Connection(client, server)
            with self._changed:
                self._connections.append(connection)
                self._counts = replace(self._counts, connections=self._counts.connections + 1)
            self._run(self._relay, connection, client, server, self._from_client)
            self._run(self._relay, connection, server, client, self._from_server)

    def _connect(self) -> socket.socket:
        if isinstance(self._target, tuple):
            server = socket.create_connection(self._target)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return server
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._target))
        except OSError:
            server.close()
            raise
        return server

    def _relay(self, connection, source, target, count) -> None:
        with suppress(OSError):
            while octets := source.recv(CHUNK):
                if self.delay:
                    time.sleep(self.delay)
                with self._changed:
                    self._changed.wait_for(lambda: connection.severed or not self._held)
                    if connection.severed:
                        break
                    count(connection, len(octets))
                    octets = self._passed(connection, octets, to_server=count == self._from_client)
                    if octets is None:
                        break
                target.sendall(octets)
        with self._changed:
            # One side has closed its connection, and its bytes have been relayed.
            connection.sever()
            if connection in self._connections:
                self._connections.remove(connection)
            self._changed.notify_all()
        connection.close_after_both()

    def _passed(self, connection, octets, *, to_server) -> bytes | None:
        """Return what the other side gets of these bytes, or None if the connection is cut instead. A subclass can be a
        bad network.
        """
        return octets

    def _from_client(self, connection, octets) -> None:
        connection.asked = True
        self._counts = replace(self._counts, octets_from_client=self._counts.octets_from_client + octets)

    def _from_server(self, connection, octets) -> None:
        self._counts = replace(
            self._counts,
            octets_from_server=self._counts.octets_from_server + octets,
            round_trips=self._counts.round_trips + connection.asked,
        )
        connection.asked = False


class _Connection:
    """A client's connection and the proxy's connection to the server, relayed by two threads."""

    def __init__(self, client: socket.socket, server: socket.socket):
        self.asked = False
        """Whether the client has sent a request that the server has not begun to answer."""
        self.severed = False
        self._sockets = client, server
        self._both = threading.Barrier(2)

    def sever(self) -> None:
        """Shut down both connections, which wakes both threads."""
        self.severed = True
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close_after_both(self) -> None:
        """Close the sockets after both threads have called this method, so that no socket is closed while in use."""
        if self._both.wait() == 0:
            for end in self._sockets:
                end.close()
