"""Fuzzes the readers of what other servers answer: `fuzz/peers.py NAME`, followed by libFuzzer's options."""

import asyncio
import functools
from collections.abc import Iterator

from engine import Target, fuzz_one_of, instrumented

with instrumented():
    from tests.kit.peers.webhook_receiver import a_parcel, a_route
    from waypost.delivery.smtp_client.protocol import replies
    from waypost.delivery.webhook import Timeouts, WebhookTransport
    from waypost.domain.mail.delivery import AttemptResult

TEXT_LIMIT = 1_000
"""More than the longest text of a result, in characters."""


def check_replies(octets: bytes) -> None:
    """Check that SMTP replies do not depend on how the peer's bytes are split, and that their text is one line."""
    whole = list(_replies([octets]))
    assert list(_replies([octets[at : at + 1] for at in range(len(octets))])) == whole
    half = len(octets) // 2
    assert list(_replies([octets[:half], octets[half:]])) == whole
    for reply in whole:
        if isinstance(reply, replies.Reply):
            assert 200 <= reply.code < 600
            assert not reply.enhanced or reply.enhanced[0] == str(reply.code)[0]
            assert reply.text.isprintable() or not any(each < " " or each in "\u2028\u2029" for each in reply.text)


def _replies(pieces: list[bytes]) -> Iterator[replies.Reply | str | None]:
    """Yield each reply, and then the error or the incomplete reply with which the input ends."""
    reader = replies.ReplyReader()
    for piece in pieces:
        reader.receive(piece)
        try:
            while reply := reader.next_reply():
                yield reply
        except replies.NotAReply as error:
            yield f"not a reply, {error.begun and error.begun.code}"
            return
    yield reader.end()


class _Receiver:
    """A webhook receiver that sends the bytes of each input, and closes the connection."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._octets = b""
        self._loop.run_until_complete(self._start())

    async def _start(self) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self._route = a_route("http://{}:{}/hook".format(*server.sockets[0].getsockname()))
        self._transport = WebhookTransport(timeouts=Timeouts(connect=60.0, part=60.0, answer=60.0))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = b""
        while not request.endswith(b"--\r\n"):  # the end of the form
            request += await reader.read(65_536)
        writer.write(self._octets)
        writer.close()

    def attempt(self, octets: bytes) -> AttemptResult:
        """Send a parcel, and return the result of the attempt that gets this response."""
        self._octets = octets
        return self._loop.run_until_complete(self._transport.attempt(a_parcel(), self._route))


_receiver = functools.cache(_Receiver)


def check_webhook(octets: bytes) -> None:
    """Check that any response gives a result, that a delivery needs a complete status line, and that the text is one
    line without the URL's secrets.
    """
    result = _receiver().attempt(octets)
    assert (result.code is None) == (result.trouble is not None), result
    assert result.code is None or b"%d" % result.code in octets
    assert len(result.text) <= TEXT_LIMIT
    assert result.text.isprintable()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

TARGETS = {
    "replies": Target(
        check_replies,
        [b"250 2.0.0 OK\r\n", b"250-a\r\n250-SIZE 10\r\n250 b\r\n", b"550 5.1.1 no\r\n421 x\r\n", b"25", b"250\n"],
        [b"250 ", b"250-", b"5.1.1 ", b"4.2.0", b"\r\n", b"\n", b"\r", b"\xe2\x80\xa8", b"421"],
    ),
    "webhook": Target(
        check_webhook,
        [
            OK,
            b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
            b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"HTTP/1.0 404 \r\n\r\nno such hook",
            b"HTTP/1.1 302 Found\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n",
        ],
        [
            b"HTTP/1.1 ",
            b"100 Continue\r\n\r\n",
            b"103 Early Hints\r\n\r\n",
            b"Content-Length: ",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Connection: upgrade\r\n",
            b"0\r\n\r\n",
            b"\r\n\r\n",
            b"\n\n",
            b"ffffffff\r\n",
        ],
    ),
}

if __name__ == "__main__":
    fuzz_one_of(TARGETS)
