"""Tests that a closed connection's TLS memory is freed, even after a failed handshake, without a garbage collection."""

import asyncio
import gc

import pytest

from tests.kit.certificates import TlsClient, tls_setup, until_cut
from tests.kit.servers.smtp_server import Client, reset, run_on, serving
from waypost.net import tls_alerts

pytestmark = pytest.mark.slow

COUNT = 8
HELLO = TlsClient(None, None).first_flight()
ALERT = b"\x15\x03\x03\x00\x02\x02\x30"
"""A fatal alert for an unknown certificate authority (RFC 8446 section 6)."""

FAILURES = {
    "no handshake": [b"GET / HTTP/1.1\r\n\r\n"],
    "nothing": [],
    "disconnected after the hello": [HELLO],
    "an alert": [HELLO, ALERT],
    "garbage after the hello": [HELLO, b"x" * 100],
}


def held():
    """The number of connections with TLS that the server has in memory."""
    return sum(isinstance(each, tls_alerts._Handshaking) for each in gc.get_objects())


async def connect(served, how, *, is_implicit):
    """Connect, and end the connection in the given way."""
    reader, writer = await asyncio.open_connection(*served.address)
    client = Client(reader, writer)
    if not is_implicit:
        client.say("EHLO client.example", "STARTTLS")
        await client.hear_until("220 2.0.0")
    if how == "success":
        tls = TlsClient(reader, writer)
        await tls.shake_hands()
        tls.say("QUIT")
        await until_cut(reader)
    else:
        for number, part in enumerate(FAILURES[how]):
            writer.write(part)
            if number or part is not HELLO:
                await until_cut(reader)
            else:
                assert await reader.read(5)
    reset(writer)


@pytest.mark.parametrize("is_implicit", [False, True], ids=["STARTTLS", "smtps"])
@pytest.mark.parametrize("how", [*FAILURES, "success"])
def test_a_closed_connection_is_not_kept_in_memory(how, is_implicit):
    async def scenario():
        with tls_setup() as setup:
            options = {"listener": {"is_tls": is_implicit}, "of_server": {"certificates": setup.certificates}}
            async with serving(capabilities={"offers_tls": True}, **options) as served:
                await connect(served, how, is_implicit=is_implicit)
                await served.until_nobody_is_connected()
                gc.collect()
                before = held()
                gc.disable()
                try:
                    for _ in range(COUNT):
                        await connect(served, how, is_implicit=is_implicit)
                    # The clock does not advance here, so this also shows that a pending timer keeps no memory.
                    await served.until(lambda: not served.server._connections and held() <= before + 2)
                finally:
                    gc.enable()

    run_on("uvloop", scenario)
