"""Runs minimal servers for comparison with Waypost: an ASGI echo server, aiosmtpd, and bare mail servers.

Start them as `python bench/bare.py echo`, `aiosmtpd`, `asyncio` or `smtplib PORT`. The server prints its port when it
is ready.
"""

import asyncio
import smtplib
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, cast

import uvicorn
import uvloop
from aiosmtpd.smtp import SMTP

REPLIES = {b"DATA": b"354 Go on\r\n", b"QUIT": b"221 Bye\r\n"}
ANSWER = b'{"ok":true}'


async def echo(_: Any, receive: Any, send: Any) -> None:
    """A minimal ASGI application: it reads the request, and responds with a small JSON body."""
    while (await receive()).get("more_body", False):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


class NullHandler:
    """Accepts and discards all messages."""

    async def handle_DATA(self, *_: Any) -> str:  # noqa: N802 - the name is aiosmtpd's
        return "250 OK"


def serve_echo() -> None:
    # uvicorn's parser and event loop are those of Waypost, and what an echo does not need is switched off.
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        echo,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


class BareSmtp(asyncio.Protocol):
    """The smallest mail server: it replies to each command, and looks only for the end of a message."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.is_message = False
        self.received = bytearray()
        self.transport.write(b"220 bench.example\r\n")

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.is_message:
            if self.received.endswith(b"\r\n.\r\n"):
                message, self.received, self.is_message = self.received, bytearray(), False
                self.accept(bytes(message))
            return
        while (end := self.received.find(b"\r\n")) >= 0:
            verb = bytes(self.received[:4]).upper()
            del self.received[: end + 2]
            self.is_message = verb == b"DATA"
            self.transport.write(REPLIES.get(verb, b"250 OK\r\n"))
            if verb == b"QUIT":
                self.transport.close()

    def accept(self, message: bytes) -> None:  # noqa: ARG002
        self.transport.write(b"250 OK\r\n")


class RelayingSmtp(BareSmtp):
    """The same server; it sends two copies of each message to a next hop with smtplib, and then replies."""

    next_hop: int
    hops = threading.local()
    """The connection of each thread to the next hop."""

    def accept(self, message: bytes) -> None:
        sent = asyncio.get_running_loop().run_in_executor(None, self.send_on, message)
        sent.add_done_callback(lambda done: self.transport.write(done.result()))

    def send_on(self, message: bytes) -> bytes:
        for recipient in ("alias@relay.example", "primary@relay.example"):
            try:
                self.hops.connection.sendmail("sender@bench.example", [recipient], message[:-3])
            except (AttributeError, smtplib.SMTPServerDisconnected):  # no connection yet, or it was idle for too long
                self.hops.connection = smtplib.SMTP("127.0.0.1", self.next_hop)
                self.hops.connection.sendmail("sender@bench.example", [recipient], message[:-3])
        return b"250 OK\r\n"


async def serve_smtp(protocol: Callable[[], asyncio.Protocol]) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    match sys.argv[1]:
        case "echo":
            serve_echo()
        case "aiosmtpd":
            handler = NullHandler()
            uvloop.run(serve_smtp(lambda: SMTP(handler, hostname="bench.example")))
        case "asyncio":
            uvloop.run(serve_smtp(BareSmtp))
        case "smtplib":
            RelayingSmtp.next_hop = int(sys.argv[2])
            uvloop.run(serve_smtp(RelayingSmtp))


if __name__ == "__main__":
    main()
