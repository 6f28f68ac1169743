"""Messages that are designed to cost a server as much work as possible; `make worst` sends them."""

import base64
from collections.abc import Callable
from dataclasses import dataclass

HEADER = 256 * 1024 - 400
"""The number of bytes in a header that are available for its fields."""

LINES = 4_900
BODY = 8 * 1024 * 1024
RECIPIENTS = 100
FROM = b"From: a@client.example\r\n"
END = b"\r\nHello\r\n"
REPORT = (
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: message/delivery-status\r\n\r\n"
)
MULTIPART = b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n"
U = "\N{LATIN SMALL LETTER U WITH DIAERESIS}"


@dataclass(frozen=True)
class Hostile:
    """A message, and the way in which it is sent."""

    octets: Callable[[], bytes]
    sender: str = "a@client.example"
    mail: str = ""
    """The parameters of MAIL."""
    rcpt: str = ""
    """The parameters of each RCPT."""
    recipients: int = 1
    to_one: bool = False
    """Whether each RCPT names the same address."""
    aliases: bool = False
    over_a_route: bool = False
    """Whether the recipients are aliases in a domain that has a route."""
    is_bounce: bool = False
    """Whether the recipient is a rewritten sender of Waypost."""
    in_chunks_of: int = 0
    """The size of each BDAT chunk in bytes; 0 if the message is sent with DATA."""
    first: bytes = b""
    """Commands that are sent together before the message."""


def of(unit: bytes, before: bytes = FROM, after: bytes = b"\r\n" + END, *, size: int = HEADER) -> Callable[[], bytes]:
    """Return a function that makes a message whose header is filled with repetitions of `unit`."""
    return lambda: before + unit * ((size - len(before)) // len(unit)) + after


def few(unit: bytes, count: int) -> Callable[[], bytes]:
    """Return a function that makes a message with `count` fields of a kind that together fill the header."""
    return lambda: (unit[: (HEADER // count) - 2] + b"\r\n") * count + FROM + END


def _parts_of_parts() -> bytes:
    leaves = b"--d\r\nContent-Type: a\r\n\r\n" * 10
    middle = (b"--c\r\n" + MULTIPART % b"d" + leaves) * 10
    return MULTIPART % b"b" + (b"--b\r\n" + MULTIPART % b"c" + middle) * 10


def _signature(tags: bytes) -> bytes:
    bodyhash = b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    start = b"DKIM-Signature: v=1; a=rsa-sha256; d=client.example; s=sel; c=relaxed/relaxed; bh=" + bodyhash
    return start + b"; " + tags + b"; b=" + b"A" * 342 + b"==\r\n"


_LONG_HOP = b"Received: by " + b"x" * 250
_LONG_SENDER = "a" * 64 + "@" + "a." * 120 + "example"
_COMMENTS = b"(((a)))" * 200
_ORCPT = " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=utf-8;" + "\\x{FC}" * 70 + "@client.example"

MESSAGES = {
    "subject of encoded words": Hostile(of(b"=?utf-8?q?=C3=BC?= ", b"Subject: ")),
    "subject of beginnings of words": Hostile(of(b"=?utf-8?q?", b"Subject: ")),
    "subject of one word in ISO-2022-JP": Hostile(
        of(base64.b64encode(b"\x1b$B4A\x1b(B"), b"Subject: =?iso-2022-jp?b?", b"?=\r\n" + END)
    ),
    "subject in EUC-JP": Hostile(of(b"=AD=A1", b"Subject: =?euc-jp?q?", b"?=\r\n" + END)),
    "subject of folds": Hostile(of(b"\r\n a" + b" " * 60, b"Subject: ")),
    "subject of combining marks": Hostile(of("\u0315\u0300\u05ae\u0301".encode(), b"Subject: a")),
    "a hundred Received, of comments": Hostile(few(b"Received: from a " + _COMMENTS + b" by b" + b" " * 2_000, 100)),
    "a hundred Received, of open comments": Hostile(few(b"Received: from a " + b"(" * 3_000, 100)),
    "more Received than there may be": Hostile(few(b"Received: from a " + _COMMENTS + b" by b" + b" " * 2_000, 120)),
    "a loop to one address a hundred times": Hostile(few(_LONG_HOP, 101), recipients=RECIPIENTS, to_one=True),
    "a loop to a hundred addresses": Hostile(few(_LONG_HOP, 101), sender=_LONG_SENDER, recipients=RECIPIENTS),
    "a hundred tokens of loops": Hostile(few(b"X-Waypost-Loop: " + b"a" * 3_000, 100)),
    "a hundred results": Hostile(
        few(b"Authentication-Results: " + _COMMENTS + b"mx.example; spf=pass" + b" " * 2_000, 100)
    ),
    "results of backslashes": Hostile(few(b"Authentication-Results: (" + b"\\(" * 1_500, 100)),
    "results of folds": Hostile(of(b"\r\n " + b" " * 60, b"Authentication-Results: mx.example")),
    "From of spaces": Hostile(lambda: b"From: a" + b" " * 200_000 + b"b\r\n" + END),
    "From of folds": Hostile(of(b"\r\n <" + b" " * 60, b"From: a@client.example")),
    "From of long domains": Hostile(lambda: b"From: " + (f"<a@{U * 120}> ").encode() * 60 + b"\r\n" + END),
    "From of ligatures": Hostile(lambda: b"From: " + "\ufdfa".encode() * 5_000 + b"@client.example\r\n" + END),
    "From of comments": Hostile(lambda: b"From: " + b"@a" + b"(" * 16_000 + b"\r\n" + END),
    "From of many addresses": Hostile(of(b"a@client.example,", b"From: ")),
    "ten From fields": Hostile(lambda: (b"From: " + b"<a@b.example> x " * 100 + b"\r\n") * 10 + END),
    "signatures by the thousand": Hostile(of(_signature(b"h=from"))),
    "signatures of many fields": Hostile(
        lambda: (
            _signature(b"h=from:" + b":".join([b"x"] * 190)) * 5 + FROM + (b"X:" + b" b" * 110 + b"\r\n") * 900 + END
        )
    ),
    "signatures of large fields": Hostile(
        lambda: _signature(b"h=from:x:x:x:x") * 5 + FROM + (b"X:" + b" b" * 6_000 + b"\r\n") * 4 + END
    ),
    "recipients in To, a line each": Hostile(of(b"\r\n\t<a@client.example>," + b" " * 40, b"To: b@client.example")),
    "one line": Hostile(of(b"a", b"X: ")),
    "fields of one letter": Hostile(lambda: b"a:\r\n" * LINES + END),
    "no header, and no end of it": Hostile(lambda: b"no field\r\n" + b"a: b\r\n" * 300_000),
    "names without a colon": Hostile(lambda: (b"a" + b" " * 50 + b"\r\n") * LINES + END),
    "Message-ID of comments": Hostile(of(b"(a)", b"Message-ID: ")),
    "Message-ID of brackets": Hostile(of(b"<", b"Message-ID: ")),
    "NULs": Hostile(of(b"\0", b"Subject: "), mail=" BODY=BINARYMIME", in_chunks_of=100_000),
    "bounce of parts of parts": Hostile(_parts_of_parts, sender="", is_bounce=True),
    "bounce of many recipients": Hostile(
        of(b"Final-Recipient: rfc822; a@b.example\r\nAction: relayed\r\n\r\n", REPORT), sender="", is_bounce=True
    ),
    "bounce of blank lines": Hostile(of(b"\r\n", REPORT + b"Action: x\r\n"), sender="", is_bounce=True),
    "bounce of folds": Hostile(of(b"Action:" + b"\r\n " * 1_300 + b"\r\n", REPORT), sender="", is_bounce=True),
    "bounce without a boundary": Hostile(
        of(b"--\r\n", b"Content-Type: multipart/mixed\r\n\r\n"), sender="", is_bounce=True
    ),
    "a hundred recipients": Hostile(of(b"a", b"X: "), recipients=RECIPIENTS),
    "a hundred aliases": Hostile(of(b"a", b"X: "), recipients=RECIPIENTS, aliases=True),
    "a hundred aliases over a route": Hostile(
        of(b"a", b"X: "), rcpt=_ORCPT, recipients=RECIPIENTS, aliases=True, over_a_route=True
    ),
    "a bounce to four of its senders": Hostile(
        of(b"Action:" + b"\r\n " * 1_300 + b"\r\n", REPORT), sender="", is_bounce=True, recipients=4
    ),
    "a hundred aliases, with notices of success": Hostile(
        of(b"a", b"X: "), mail=" RET=FULL ENVID=" + "+41" * 30, rcpt=_ORCPT, recipients=RECIPIENTS, aliases=True
    ),
    "a hundred notices of success": Hostile(
        of(b"\r\n a" + b" " * 60, b"Subject: "),
        mail=" RET=FULL ENVID=" + "+41" * 30,
        rcpt=_ORCPT,
        recipients=RECIPIENTS,
    ),
    "dots": Hostile(lambda: FROM + b"\r\n" + b"..\r\n" * (BODY // 4)),
    "empty lines": Hostile(lambda: FROM + b"\r\n" * (BODY // 2)),
    "a line of megabytes": Hostile(lambda: FROM + b"\r\n" + b"\xff" * BODY + b"\r\n"),
    "chunks of an octet": Hostile(lambda: FROM + b"\r\n" + b"a" * 900, in_chunks_of=1),
    "commands by the thousand": Hostile(lambda: FROM + END, first=b"NOOP\r\n" * 900),
    "nothing": Hostile(lambda: b"\r\n"),
}
"""The messages by name."""
