"""The parsers on the event loop for data from mail clients, from receiving servers, from webhooks, and from the DNS."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import dns.message
import dns.rrset

from tests.kit import smtp_dialogues
from tests.work.rows import ANSWER, HEADER, RECEIVED, Where, filled, refusing, rows, text
from waypost.delivery import webhook
from waypost.delivery.smtp_client import dns as delivery_dns
from waypost.delivery.smtp_client.protocol.dialogue import Dialogue, SessionOptions
from waypost.domain.mail.delivery import Protocol
from waypost.server.http import heads
from waypost.smtp.protocol import data, grammar
from waypost.smtp.protocol.replies import OK
from waypost.smtp.server import proxy

_HELLO = b"EHLO client.example\r\n"
_MAIL = b"MAIL FROM:<a@client.example>\r\n"
_RCPT = b"RCPT TO:<a@mail.example>\r\n"
_PATH_LIMIT = grammar.LONGEST_LINE
_TXT_STRING = 250


def _session(octets: bytes) -> Iterator[None]:
    """Run a session with a client that sends all bytes at once. Other tasks can run after each step."""
    session = smtp_dialogues.a_session(
        error_limit=10**6, command_limit=10**6, unknown_recipient_limit=10**6, mail_limit=10**6
    )
    session.receive(octets)
    while (question := session.next_request()) or session.has_more:
        if question:
            session.answer(OK)
        session.output()
        yield


def _body(octets: bytes) -> Iterator[None]:
    """Decode a message that arrives in pieces of the size that the server reads."""
    body = data.Body(64 * 1024 * 1024)
    decoder = data.MessageDecoder(body)
    for start in range(0, len(octets), 64 * 1024):
        decoder.feed(octets[start : start + 64 * 1024])
        while body.next_piece() is not None:
            yield
        yield
    decoder.feed(b"\r\n.\r\n")
    body.finish()


def _replies(octets: bytes) -> object:
    """Parse the replies of a server that sends all bytes at once."""
    said = Dialogue(SessionOptions(protocol=Protocol.SMTP, hostname="client.example"))
    said.receive(octets)
    said.output()
    return said


def _webhook_answer(octets: bytes) -> object:
    """Parse a response that arrives in pieces of a hundred bytes."""
    heads = webhook._Heads()
    for start in range(0, len(octets), 100):
        rest = octets[start : start + 100]
        while rest and not heads.is_over:
            _, rest = heads.cut(rest)
    return webhook._readable(webhook._first_line(octets[: webhook.ANSWER_LIMIT]))


def mx_answer(size: int) -> bytes:
    """Return a DNS response with the maximum number of mail servers."""
    question = dns.message.make_query("client.example", "MX")
    answer = dns.message.make_response(question)
    servers = [f"{number} {number}.client.example." for number in range(size // 24)]
    answer.answer.append(dns.rrset.from_text("client.example.", 60, "IN", "MX", *servers))
    return answer.to_wire(max_size=65_535)


def _mail_hosts(wire: bytes) -> list[str]:
    class Last:
        @staticmethod
        def shuffle(_: Any) -> None:
            """Keep the order, which does not matter here."""

    records = dns.message.from_wire(wire).answer[0]
    return delivery_dns.Resolver(shuffler=Last())._in_order("client.example", tuple(records))


def _proxy(addresses: bytes) -> object:
    head = proxy.HEAD.pack(proxy.SIGNATURE, 0x21, 0x21, len(addresses))
    proxy.remaining_length(head)
    return proxy.client(head, addresses)


def _host(value: bytes) -> object:
    return heads.refusal("1.1", "GET", [b"host"], [value])


ROWS = [
    *rows(
        "session",
        Where.LOOP,
        RECEIVED,
        _session,
        {
            "NOOP": filled(b"NOOP\r\n", _HELLO),
            "empty lines": filled(b"\r\n", _HELLO),
            "unknown commands": filled(b"X\r\n", _HELLO),
            "HELP": filled(b"HELP\r\n", _HELLO),
            "EHLO": filled(_HELLO),
            "a line without an end": filled(b"a", _HELLO),
            "BDAT 0": filled(b"BDAT 0\r\n", _HELLO + _MAIL + _RCPT),
            "BDAT 1": filled(b"BDAT 1\r\na", _HELLO + _MAIL + _RCPT),
            "BDAT without a transaction": filled(b"BDAT 1\r\na", _HELLO),
            "messages of nothing": filled(_MAIL + _RCPT + b"DATA\r\n.\r\n", _HELLO),
            "messages of nothing in chunks": filled(_MAIL + _RCPT + b"BDAT 0 LAST\r\n", _HELLO),
            "recipients": filled(_RCPT, _HELLO + _MAIL),
            "long recipients": filled(b"RCPT TO:<" + b"a." * 200 + b"@mail.example>\r\n", _HELLO + _MAIL),
            "recipients in UTF-8": filled(
                "RCPT TO:<a@{}.example>\r\n".format("\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 120).encode(),
                _HELLO + b"MAIL FROM:<a@client.example> SMTPUTF8\r\n",
            ),
            "quoted recipients": filled(b'RCPT TO:<"' + b"\\a" * 200 + b'"@mail.example>\r\n', _HELLO + _MAIL),
            "paths without an end": filled(b'RCPT TO:<"' + b"\\a" * 200 + b"\r\n", _HELLO + _MAIL),
            "xtext": filled(_RCPT[:-2] + b" ORCPT=rfc822;" + b"+41" * 160 + b"\r\n", _HELLO + _MAIL),
            "unitext": filled(_RCPT[:-2] + b" ORCPT=utf-8;" + b"\\x{41}" * 80 + b"\r\n", _HELLO + _MAIL),
            "parameters": filled(b"MAIL FROM:<>" + b" A=B" * 100 + b"\r\n", _HELLO),
        },
    ),
    *rows(
        "message after DATA",
        Where.LOOP,
        16 * HEADER,
        refusing(lambda octets: list(_body(octets)), data.BareLineEnd),
        {
            "dots": filled(b"\r\n..", b"a: b\r\n"),
            "beginnings of the end": filled(b"\r\n.\r", b"a: b\r\n"),
            "empty lines": filled(b"\r\n"),
            "lines without a colon": filled(b"aaaaaaaa", b"a: b\r\n"),
            "names without a colon": filled(b"aa\r\n"),
            "names before spaces": filled(b"a" + b" " * 60 + b"\r\n"),
            "fields": filled(b"a:\r\n"),
        },
    ),
    *rows(
        "command line",
        Where.LOOP,
        _PATH_LIMIT,
        refusing(
            lambda line: grammar.parse_path(line, "TO"),
            grammar.BadSyntax,
            grammar.BadParameter,
        ),
        {
            "quoted pairs": text("\\a", 'TO:<"'),
            "quotes": text('"', "TO:<"),
            "spaces": text(" ", "TO:", "<"),
            "parameters of spaces": text(" ", "TO:<> "),
        },
    ),
    *rows(
        "mailbox",
        Where.LOOP,
        _PATH_LIMIT,
        refusing(partial(grammar.parse_recipient, hostname="mail.example"), grammar.BadSyntax),
        {
            "atoms": text("a."),
            "an atom": text("a"),
            "quoted pairs": text("\\a", '"'),
            "labels": text("a.", "a@"),
            "a literal": text("0:", "a@[IPv6:", "]"),
            "UTF-8": text("\N{LATIN SMALL LETTER U WITH DIAERESIS}", "a@"),
        },
    ),
    *rows(
        "xtext",
        Where.LOOP,
        grammar.ORCPT_LIMIT,
        grammar.decode_xtext,
        {"octets": text("+41"), "bad": text("a", "", "+")},
    ),
    *rows("unitext", Where.LOOP, grammar.ORCPT_LIMIT, grammar.decode_unitext, {"points": text("\\x{41}")}),
    *rows(
        "PROXY header", Where.LOOP, proxy.ADDRESSES_LIMIT, _proxy, {"extensions": filled(b"\x05\x00\x01a", bytes(36))}
    ),
    *rows(
        "replies of a peer",
        Where.LOOP,
        256 * 1024,
        _replies,
        {
            "short": filled(b"250 a\r\n"),
            "of a hundred lines": filled(b"250-a\r\n" * 99 + b"250 a\r\n"),
            "of long lines": filled(b"250-" + b" a" * 2_000 + b"\r\n"),
            "codes and spaces": filled(b"250 2.0.0" + b" " * 3_000 + b"\r\n"),
            "one line": filled(b"2"),
        },
    ),
    *rows(
        "answer of a webhook",
        Where.LOOP,
        ANSWER,
        _webhook_answer,
        {
            "interim answers": filled(b"HTTP/1.1 100 Continue\r\n\r\n"),
            "a head without an end": filled(b"a: b\r\n", b"HTTP/1.1 200 OK\r\n"),
            "spaces": filled(b" ", b"HTTP/1.1 200 OK\r\n\r\n"),
            "octets that are no text": filled(b"\xff", b"HTTP/1.1 200 OK\r\n\r\n"),
        },
    ),
    *rows(
        "mail servers of a domain", Where.LOOP, delivery_dns.ANSWER_LIMIT, _mail_hosts, {"as many as fit": mx_answer}
    ),
    *rows(
        "Host", Where.LOOP, 64 * 1024, _host, {"letters": filled(b"a", b"", b"/"), "digits": filled(b"1", b"[", b"")}
    ),
]
