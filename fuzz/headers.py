"""Fuzzes the parsers of the PROXY header of a connection and of the header of a message.

The first byte of an input selects the parser. The next four bytes define where the input is split.
"""

import re
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from engine import ROOT, fuzz, instrumented

with instrumented():
    from tests.kit import smtp_dialogues
    from waypost.domain.mail import messages
    from waypost.smtp.protocol import data
    from waypost.smtp.server import proxy

HEAD = 5
MESSAGE_LIMIT = 400
PIECE = 100

RECEIVED = re.compile(rb"received[ \t]*:", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")

WORDS = [
    proxy.SIGNATURE,
    b"\x21\x11\x00\x0c",
    b"\x21\x21\x00\x24",
    b"\x20\x00\x00\x00",
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b":",
    b"Subject:",
    b"Received:",
    b"X-Waypost-Loop:",
    b"=?utf-8?q?",
    b"=?utf-8?b?",
    b"=?iso-2022-jp?b?",
    b"=?euc-jp?q?=AD=A1",
    b"=?gb2312?b?",
    b"=?utf-8*de?q?",
    b"=?utf-7?q?",
    b"=?utf-16?b?",
    b"=?idna?q?",
    b"=?punycode?q?",
    b"=?unicode_escape?q?",
    b"=?raw_unicode_escape?q?",
    b"=?undefined?q?",
    b"=?unknown-8bit?q?",
    b"=?hex?q?",
    b"=?=",
    b"?=",
]


def check(octets: bytes) -> None:
    """Check one input. libFuzzer calls this function."""
    head, rest = octets[:HEAD].ljust(HEAD, b"\0"), octets[HEAD:]
    sizes = [1 + octet for octet in head[1:]]
    if head[0] % 2:
        check_proxy(rest, sizes)
    else:
        check_message(rest, sizes)


class Nothing:
    """A transport and a timer that do nothing."""

    def abort(self) -> None:
        """Do nothing."""

    cancel = abort


def check_proxy(octets: bytes, sizes: list[int]) -> None:
    """Check that the parser finds the address in the header for every split, and reads no byte after the header."""
    said: list[str | None] = []
    failed: list[proxy.BadHeader] = []
    ended: list[proxy.ProxyHeader] = []
    reader = proxy.ProxyHeader(seconds=1, then=said.append, failed=failed.append, ended=ended.append)
    reader._transport = reader._timer = Nothing()
    at = turn = 0
    while at < len(octets) and not said and not failed:
        buffer = reader.get_buffer(-1)
        part = octets[at : at + min(len(buffer), sizes[turn % len(sizes)])]
        buffer[: len(part)] = part
        reader.buffer_updated(len(part))
        at, turn = at + len(part), turn + 1
    assert len(ended) == len(said) + len(failed)
    expected, length = what_proxy_says(octets)
    if said:
        assert (said, at) == ([expected], length)
    else:
        assert expected == ("bad" if failed else "more")


def what_proxy_says(octets: bytes) -> tuple[str | None, int]:
    """Return the address according to the specification, or "bad", or "more", and the length of the header in bytes."""
    if len(octets) < 16:
        return "more", 0
    version, family, follow = struct.unpack("!BBH", octets[12:16])
    if octets[:12] != proxy.SIGNATURE or version not in {0x20, 0x21} or follow > proxy.ADDRESSES_LIMIT:
        return "bad", 0
    length = 16 + follow
    if len(octets) < length:
        return "more", 0
    if version == 0x20 or family in {0x00, 0x31}:
        return None, length
    width = {0x11: 4, 0x21: 16}.get(family)
    if width is None or follow < 2 * width + 4:
        return "bad", 0
    address = ip_address(octets[16 : 16 + width])
    return str(getattr(address, "ipv4_mapped", None) or address), length


def check_message(octets: bytes, sizes: list[int]) -> None:
    """Check that every header is parsed to its end, and that a message is the same for every split into pieces."""
    facts = messages.read_header(octets)
    end = messages.end_of_header(octets)
    header = octets if end is None else octets[:end]
    assert messages.read_header(header) == facts
    assert len(facts.subject) <= messages.SUBJECT_LIMIT
    assert not CONTROL.search(facts.subject)
    facts.subject.encode()
    received = sum(1 for line in header.split(b"\r\n") if RECEIVED.match(line))
    assert facts.received_lines == min(received, messages.MAX_RECEIVED_LINES + 1)

    outcomes = [in_pieces(octets, cuts) for cuts in ([], sizes, [1])]
    assert outcomes[0] == outcomes[1] == outcomes[2]
    raw, found, refusal = outcomes[0]
    if refusal is None:
        assert raw == octets
        assert raw.startswith(found)
        assert len(found) <= PIECE
        assert end is None or found == header or messages.end_of_header(raw[:PIECE]) is None


def in_pieces(octets: bytes, sizes: list[int]) -> tuple[bytes, bytes, data.Reply | None]:
    """Return the bytes, the header and the refusal of a message that arrives in parts of these sizes."""
    body, raw = data.Body(MESSAGE_LIMIT, piece=PIECE), b""
    at = turn = 0
    while at < len(octets):
        size = sizes[turn % len(sizes)] if sizes else len(octets)
        body.take(octets[at : at + size])
        while (piece := body.next_piece()) is not None:
            raw += piece
        assert body.buffered <= PIECE
        at, turn = at + size, turn + 1
    raw += body.finish()
    return (b"", b"", body.refusal) if body.refusal else (raw, body.header, None)


def seeds() -> Iterator[bytes]:
    """Yield headers of the PROXY protocol, and the messages of the dialogues."""
    for rest in (
        b"\x20\x00\x00\x00",
        b"\x21\x11\x00\x0c" + bytes(range(12)),
        b"\x21\x21\x00\x24" + bytes(range(36)),
        b"\x21\x21\x00\x28" + b"\0" * 10 + b"\xff\xff" + bytes(28),
    ):
        yield b"\1\0\3\7\1" + proxy.SIGNATURE + rest
    for path in sorted((ROOT / "tests/smtp/protocol/dialogues").glob("*.smtp")):
        yield b"\0\0\3\7\1" + smtp_dialogues.read(path).sent[:1_000]
    for charset in (b"utf-8", b"punycode", b"idna", b"iso-2022-jp", b"utf-7", b"euc-jp", b"gb2312*zh"):
        yield b"\0\0\3\7\1Received: x\r\nSubject: =?" + charset + b"?q?a=FCb-x?=\r\n\tagain\r\n\r\nHello\r\n"


if __name__ == "__main__":
    fuzz(check, name="headers", seeds=seeds(), words=WORDS)
