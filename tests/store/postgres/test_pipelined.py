"""A pipelined connection on uvloop, the event loop of the server, when the connection is lost."""

import asyncio
import socket
import struct
import tempfile
import threading

import psycopg
import pytest
import uvloop
from psycopg import conninfo

from tests.kit.patience import PATIENCE
from tests.kit.stores import postgresql
from waypost.store.postgres import connection as postgres_connection
from waypost.store.postgres.pipelined import PipelinedConnection

NOTICE = b"N" + struct.pack("!i", 4 + len(b"SNOTICE\0\0")) + b"SNOTICE\0\0"


class ResettingServer:
    """Relays one connection to PostgreSQL. On request, it sends a last notice and resets the connection."""

    def __init__(self, url):
        self._directory = tempfile.TemporaryDirectory(prefix="waypost-reset-")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._directory.name}/.s.PGSQL.5432")
        self._listener.listen()
        self._target = postgresql.address_of(url)
        self.url = conninfo.make_conninfo(**{**conninfo.conninfo_to_dict(url), "host": self._directory.name})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def _relay(self):
        client, _ = self._listener.accept()
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self._target)
            for end in (client, server):
                end.settimeout(0.01)
            while not self._stop.is_set():
                for source, target in ((client, server), (server, client)):
                    try:
                        target.sendall(source.recv(1 << 16))
                    except TimeoutError:
                        continue
        self._client = client

    def stop_reading(self):
        """Leave further requests unread, so that closing the connection resets it."""
        self._stop.set()
        self._thread.join(PATIENCE)

    def reset(self):
        self._client.sendall(NOTICE)
        self._client.close()

    def close(self):
        self._listener.close()
        self._directory.cleanup()


def test_a_reset_after_other_data_is_noticed_on_uvloop(database):
    """uvloop stops watching a socket after a reset. The rest of the data is read at the same time as the reset."""

    async def scenario():
        where = postgres_connection.where(server.url)
        pipelined = PipelinedConnection(await asyncio.to_thread(where.connect), prepares=True)
        pipelined.send(b"SELECT 1")
        (result,) = await pipelined.results()
        assert pipelined.rows(result) == [(1,)]
        await asyncio.to_thread(server.stop_reading)
        pipelined.send(b"SELECT 2")
        waiting = asyncio.ensure_future(pipelined.results())
        await asyncio.sleep(0)
        server.reset()
        with pytest.raises(psycopg.OperationalError):
            async with asyncio.timeout(PATIENCE):
                await waiting
        assert pipelined.error is not None

    server = ResettingServer(database)
    try:
        uvloop.run(scenario())
    finally:
        server.close()
