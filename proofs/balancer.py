"""A TCP load balancer on the loopback network, as in front of several servers."""

import asyncio
import itertools
from contextlib import suppress

from tests.kit.on_a_thread import OnAThread


class Balancer(OnAThread):
    """Relays each connection to one of its servers in turn, or to the next one if that server does not listen.

    `servers` are the hosts and ports to which connections are relayed. It may be changed at any time.
    """

    def __init__(self):
        self.servers = []
        self._turn = itertools.count()
        self._relays = set()

    @property
    def address(self):
        """The host and the port at which clients connect."""
        return self._listener.sockets[0].getsockname()

    async def _begin(self):
        self._listener = await asyncio.start_server(self._relay, "127.0.0.1", 0)

    async def _close(self):
        self._listener.close()
        relays = list(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

    async def _relay(self, reader, writer):
        self._relays.add(asyncio.current_task())
        try:
            server = await self._connected()
            if server:
                await self._relay_both(reader, writer, *server)
        finally:
            self._relays.discard(asyncio.current_task())
            writer.transport.abort()

    async def _relay_both(self, reader, writer, server_reader, server_writer):
        pumps = [asyncio.create_task(_pump(reader, server_writer)), asyncio.create_task(_pump(server_reader, writer))]
        try:
            # A connection ends if either side ends it. What a server sent before its end is relayed completely.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            with suppress(ConnectionError):
                await writer.drain()
                writer.write_eof()
        finally:
            for pump in pumps:
                pump.cancel()
            server_writer.transport.abort()

    async def _connected(self):
        servers = list(self.servers)
        start = next(self._turn)
        for place in range(len(servers)):
            with suppress(OSError):
                return await asyncio.open_connection(*servers[(start + place) % len(servers)])
        return None


async def _pump(reader, writer):
    with suppress(ConnectionError):
        while octets := await reader.read(2**16):
            writer.write(octets)
            await writer.drain()
