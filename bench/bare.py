"""Runs minimal servers for comparison with Waypost: an ASGI echo server, and aiosmtpd with a null handler.

Start them as `python bench/bare.py echo` or `python bench/bare.py null-smtp`. The server prints its port when it is
ready.
"""

import asyncio
import socket
import sys
from typing import Any

import uvicorn
import uvloop
from aiosmtpd.smtp import SMTP

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
    # Use the same server and settings as Waypost, so that the application is the only difference.
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


async def serve_null_smtp() -> None:
    handler = NullHandler()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(handler, hostname="bench.example"), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        serve_echo()
    else:
        uvloop.run(serve_null_smtp())
