"""Fuzzes the SMTP session with any bytes, any splits and any capabilities; tests/kit/invariants.py checks the results.

An input begins with eleven bytes that choose the capabilities, the answers of the server, and where the rest is split.
The rest of the input is the data that the client sends.
"""

import random
import re
from collections.abc import Iterator

from engine import ROOT, fuzz, instrumented

with instrumented():
    from tests.kit import invariants, smtp_dialogues
    from waypost.smtp.protocol.capabilities import Capabilities

HEAD = 11
SIZES = 5
"""The number of bytes at the end of the head that define the sizes of the pieces, in turn."""

MESSAGE_LIMITS = [100_000, 0, 1, 40, 200, 1_000]
PIECES = [100_000, 1, 5, 20, 40, 250]
RECIPIENT_LIMITS = [100, 1, 2, 3]
MAIL_LIMITS = [100, 1, 2, 3]
COMMAND_LIMITS = [1_000, 3, 9, 20]
ERROR_LIMITS = [1_000, 1, 3, 8]

LINE = re.compile(rb"[^\n]*\n|[^\n]+\Z")


def read(octets: bytes) -> tuple[Capabilities, bytes, list[int], invariants.Behaviour]:
    """Parse an input into the capabilities, the client's bytes, the sizes of the pieces, and the server's behaviour."""
    head, sent = octets[:HEAD].ljust(HEAD, b"\0"), octets[HEAD:]
    flags = head[0]
    capabilities = Capabilities(
        hostname="mail.example",
        lmtp=bool(flags & 1),
        offers_tls=bool(flags & 2),
        needs_tls=flags & 6 == 6,
        message_limit=_chosen(MESSAGE_LIMITS, head[1]),
        piece=_chosen(PIECES, head[2]),
        recipient_limit=_chosen(RECIPIENT_LIMITS, head[3]),
        mail_limit=_chosen(MAIL_LIMITS, head[3] // 4),
        command_limit=_chosen(COMMAND_LIMITS, head[4]),
        error_limit=_chosen(ERROR_LIMITS, head[5]),
        unknown_recipient_limit=_chosen(ERROR_LIMITS, head[5] // 4),
    )
    way = invariants.Behaviour(
        makes_handshakes=not flags & 8, has_limits=bool(flags & 16), injects_faults=bool(flags & 32)
    )
    return capabilities, sent, [1 + octet for octet in head[-SIZES:]], way


def check(octets: bytes) -> None:
    """Check one input. libFuzzer calls this function."""
    capabilities, sent, sizes, way = read(octets)
    invariants.check(capabilities, sent, sizes, way)


def seeds() -> Iterator[bytes]:
    """Yield every dialogue of the tests, once with large limits and once with small limits."""
    for path in sorted((ROOT / "tests/smtp/protocol/dialogues").glob("*.smtp")):
        dialogue = smtp_dialogues.read(path)
        flags = sum(
            bit for name, bit in (("lmtp", 1), ("offers_tls", 2), ("needs_tls", 4)) if dialogue.options.get(name)
        )
        for rest in (b"\0\0\0\0\0\x02\x32\x07\x00\x10", b"\4\4\3\0\3\x02\x32\x07\x00\x10"):
            yield bytes([flags]) + rest + dialogue.sent


def mutate(chance: random.Random, octets: bytes) -> bytes:
    """Change parts of an input: lines, messages, chunks, or the choices in its head."""
    head, lines = bytearray(octets[:HEAD].ljust(HEAD, b"\0")), LINE.findall(octets[HEAD:])
    if chance.random() < 0.2:
        head[chance.randrange(HEAD)] = chance.randrange(256)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(lines) + 1)
        change = chance.randrange(6)
        if change <= 2:
            lines[place:place] = _something(chance)
        elif change == 3:
            del lines[place : place + chance.randint(1, 3)]
        elif change == 4:
            lines[place:place] = lines[chance.randrange(len(lines) + 1) :][: chance.randint(1, 5)]
        elif place < len(lines):
            where = chance.randrange(len(lines[place]) + 1)
            cut = chance.choice([0, 0, 1, 2])
            lines[place] = lines[place][:where] + chance.choice(invariants.LETTERS) + lines[place][where + cut :]
    return bytes(head) + b"".join(lines)


def _something(chance: random.Random) -> list[bytes]:
    kind = chance.randrange(5)
    if kind == 0:
        return [chance.choice(invariants.COMMANDS)]
    if kind == 1:
        return [chance.choice(invariants.TEXT + invariants.TRICKS)]
    begin = [chance.choice(invariants.MAILS), chance.choice(invariants.RECIPIENTS)]
    text = b"".join(chance.choices(3 * invariants.TEXT + invariants.TRICKS, k=chance.randint(0, 6)))
    if kind == 2:
        return [*begin, b"DATA\r\n", text, b".\r\n"]
    where = chance.randrange(len(text) + 1)
    chunks = [
        invariants.a_chunk(text[:where], is_last=False),
        invariants.a_chunk(text[where:], is_last=True),
    ]
    return [*begin, *chunks] if kind == 3 else chunks


def _chosen(choices: list[int], octet: int) -> int:
    return choices[octet % len(choices)]


if __name__ == "__main__":
    words = [
        *invariants.COMMANDS,
        *invariants.TEXT,
        *invariants.TRICKS,
        *invariants.LETTERS,
    ]
    fuzz(check, name="session", seeds=seeds(), words=words, mutate=mutate)
