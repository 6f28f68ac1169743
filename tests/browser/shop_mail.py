"""The mail of the shop in the story: who sends what to whom, and how many minutes before its end."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, formataddr

from tests.kit.signed_mail import key

PEERS = {
    "mill.example": "192.0.2.10",
    "weaver.example": "192.0.2.11",
    "carrier.example": "192.0.2.12",
    "paper.example": "192.0.2.13",
    "bank.example": "198.51.100.66",
}
"""The IP address from which mail of each domain comes."""

DNS = {
    **{domain: {"TXT": [f"v=spf1 ip4:{peer} -all"]} for domain, peer in PEERS.items()},
    **{f"sel._domainkey.{domain}": {"TXT": [key()[1]]} for domain in PEERS},
    **{f"_dmarc.{domain}": {"TXT": ["v=DMARC1; p=reject"]} for domain in PEERS},
    "bank.example": {"TXT": ["v=spf1 ip4:192.0.2.99 -all"]},  # the mail of the story is forged
}
"""The DNS records of the domains."""


@dataclass(frozen=True)
class Letter:
    """A message of the story."""

    minutes: float
    """How many minutes before the end of the story it is sent."""
    name: str
    sender: str
    recipient: str
    subject: str
    text: str
    add: Callable[[EmailMessage], None] = lambda message: None
    """Adds HTML and attachments."""
    is_signed: bool = True

    def message(self, at: datetime, number: int) -> EmailMessage:
        """Return the message as its sender writes it at the time `at`."""
        message = EmailMessage()
        message["From"] = formataddr((self.name, self.sender))
        message["To"] = self.recipient
        message["Subject"] = self.subject
        message["Date"] = format_datetime(at)
        message["Message-ID"] = f"<{number}@{self.sender.rpartition('@')[2]}>"
        message.set_content(self.text, cte="quoted-printable")
        self.add(message)
        return message


def picture(width, height, colour, background) -> bytes:
    """Return a PNG file with a disc on a background. Colours are three numbers from 0 to 255."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            is_inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2
            rows += bytes(colour if is_inside else background)

    def chunk(kind, data):
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    size = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n"


def _order(message):
    """Add the HTML of an order, with a picture in it and two attachments."""
    message.add_alternative(
        """\
<p>Hello,</p>
<p>my order <b>1042</b> should have arrived on Monday. The carrier says that it has not been handed over yet.</p>
<table cellpadding="6">
<tr><td rowspan="2"><img src="cid:cloth@weaver.example" width="96" height="64" alt="Linen cloth"></td>
<td>Linen cloth, 3 m</td><td align="right">54.00</td></tr>
<tr><td>Thread, white</td><td align="right">3.20</td></tr>
</table>
<p>Where is it? You can follow it <a href="https://carrier.example/parcels/1042">on the page of the carrier</a>.</p>
<p>Ann Weaver<br><small>Weaver &amp; Daughters, 12 Mill Lane</small></p>
<img src="https://pictures.weaver.example/seen.png?to=support" width="1" height="1" alt="">
""",
        subtype="html",
    )
    html = message.get_payload()[1]
    cloth = picture(96, 64, (11, 122, 117), (227, 230, 234))
    html.add_related(cloth, "image", "png", cid="<cloth@weaver.example>", filename="cloth.png", disposition="inline")
    message.add_attachment(PDF * 400, maintype="application", subtype="pdf", filename="Order 1042.pdf")
    photo = picture(320, 200, (79, 195, 187), (20, 23, 26))
    message.add_attachment(photo, maintype="image", subtype="png", filename="Parcel – label.png")


def _invoice(message):
    message.add_attachment(PDF * 120, maintype="application", subtype="pdf", filename="Invoice 118.pdf")


ORDER = Letter(
    1,
    "Ann Weaver",
    "ann@weaver.example",
    "support@shop.example",
    "Where is my order 1042?",
    "Hello,\n\nmy order 1042 should have arrived on Monday. The carrier says that it has not been handed over yet.\n\n"
    "    Linen cloth, 3 m    54.00\n    Thread, white        3.20\n\nWhere is it?\n\n"
    "Ann Weaver\nWeaver & Daughters, 12 Mill Lane\n",
    _order,
)
"""The message that the screenshots show."""

LETTERS = (
    ORDER,
    Letter(
        3, "Bob Mill", "bob@mill.example", "invoices@shop.example", "Invoice 118", "It is attached.\n\nBob\n", _invoice
    ),
    Letter(
        6, "Carrier", "no-reply@carrier.example", "orders@shop.example", "Parcel 77-1031 is on its way", "Thank you.\n"
    ),
    Letter(
        9, "Dora Lin", "dora@paper.example", "press@shop.example", "An interview for the spring issue?", "Hello,\n…\n"
    ),
    Letter(
        14,
        "Emil Sand",
        "emil@weaver.example",
        "hello@shop.example",
        "Do you ship to Norway?",
        "Do you?\n\nEmil\n",
    ),
    Letter(19, "Fay Okoro", "fay@mill.example", "jobs@shop.example", "Application: weaver, part time", "See below.\n"),
    Letter(
        22,
        "Your bank",
        "alerts@bank.example",
        "hello@shop.example",
        "Account locked",
        "Click.\n",
        is_signed=False,
    ),
    Letter(
        27, "Gus Berg", "gus@paper.example", "privacy@shop.example", "Please delete my account", "All of it.\n\nGus\n"
    ),
    Letter(31, "Hana Sato", "hana@mill.example", "support@shop.example", "Wrong colour, order 1038", "It is blue.\n"),
    Letter(38, "Ivo Marek", "ivo@paper.example", "sale@shop.example", "Your spring sale", "When?\n"),
    Letter(42, "Bob Mill", "bob@mill.example", "invoices@shop.example", "Invoice 117", "It is attached.\n", _invoice),
    Letter(47, "Dora Lin", "dora@paper.example", "press@shop.example", "Pictures of the new looms", "Could you?\n"),
)
"""The messages with a content of their own."""

_TIMES = [*range(2, 60, 2), *range(3, 60, 7), *range(33, 45), *range(62, 180, 4), *range(180, 1200, 15)]
"""When the carrier sends a message: every two minutes in the last hour, more at half past nine, and few before."""

BUSY = tuple(
    Letter(
        minutes + 0.5,
        "Carrier",
        "no-reply@carrier.example",
        ("orders@shop.example", "support@shop.example", "orders@shop.example", "invoices@shop.example")[number % 4],
        f"Parcel 77-{1030 - number} has arrived",
        "Thank you.\n",
    )
    for number, minutes in enumerate(sorted(_TIMES))
)
"""The messages of a program."""
