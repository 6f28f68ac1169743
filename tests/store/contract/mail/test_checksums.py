"""Damaged bytes of messages on both stores: each piece is stored with a checksum, and no reader gets damaged bytes."""

import random
from datetime import timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from tests.kit.stores.calls import create
from tests.kit.values import NOW
from tests.store.contract.mail.test_mail import DEPLOYMENT, RAW, accepting
from waypost.app import ports
from waypost.app.mail import accept, copies, reading, trace
from waypost.app.queue import attempt
from waypost.domain.mail import checksums
from waypost.domain.mail.messages import HEADER_LIMIT
from waypost.domain.mail.routes import Route
from waypost.store.common.transaction.messages import PIECE

ACCOUNT = "000000000000"
PIECES = "SELECT message_id, start, octets, checksum FROM message_bodies ORDER BY message_id, start"
PEER = "smtp://peer.example:25"
ROUTED = replace(DEPLOYMENT, routes=(Route(match="x@example.com", to=PEER),))


@pytest.fixture
def system(store, instance):
    create(store, "x")
    return store


def change(system, what, where="message_id = 'm1'"):
    """Change rows of the bytes of messages with SQL, as a damaged disk would."""
    system.write(lambda tx: tx.connection.execute(f"UPDATE message_bodies SET {what} WHERE {where}") and None)


def damage(system, octets, start=0, message_id="m1"):
    """Flip one bit in the last byte of the piece that begins at `start`, whose bytes are `octets`."""
    flipped = (octets[:-1] + bytes([octets[-1] ^ 4])).hex()
    literal = f"x'{flipped}'" if system.engine.name == "sqlite" else f"'\\x{flipped}'"
    change(system, f"octets = {literal}", f"message_id = '{message_id}' AND start = {start}")


def pieces(system):
    return [(*row[:2], bytes(row[2]), row[3]) for row in system.rows(PIECES)]


# Writing


def test_each_way_to_store_bytes_stores_their_checksums(system):
    large = random.Random(1).randbytes(2 * PIECE + 5)
    system.write(accepting("x", raw=RAW))
    system.write(accepting("x", raw=large, message_id="m2"))
    system.write(accept.keep_octets, "m3", large, start=0, now=NOW)
    system.write(accept.keep_octets, "m3", b"more", start=len(large), now=NOW)
    system.write(accepting("x", raw=b"the end", header=b"", kept=len(large) + 4, message_id="m3"))
    together = [accepting("x", raw=RAW + bytes([number]), message_id=f"n{number}") for number in range(9)]
    assert not any(isinstance(one, BaseException) for one in system.concurrently(*together))
    found = pieces(system)
    assert len(found) == 1 + 3 + 5 + 9
    assert [row[3] for row in found] == [checksums.of_piece(*row[:3]) for row in found]


# Readers


READERS = {
    "octets": lambda tx: tx.octets("m1", start=0, limit=5),
    "the parts for a delivery": partial(accept.kept_octets, message_id="m1", start=0, limit=PIECE),
    "the console": partial(copies.contents, account=ACCOUNT, message_id="m1", limit=9),
    "the MIME parts": partial(reading.raw, account=ACCOUNT, message_id="m1"),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_no_reader_gets_damaged_bytes(system, reader):
    system.write(accepting("x"))
    system.long_read(reader)
    damage(system, RAW)
    with pytest.raises(ports.Damaged, match=r"^The stored bytes of message m1 are damaged, so they are not returned\."):
        system.long_read(reader)
    with pytest.raises(ports.Damaged):
        system.read(reader)


def test_a_queued_delivery_does_not_get_damaged_bytes_with_its_claim(system):
    def claim():
        taken = system.write(
            partial(
                attempt.claim,
                deployment=ROUTED,
                destination=PEER,
                claim="c",
                now=NOW + timedelta(hours=1),
                lease=timedelta(0),
                limit=10,
            )
        )
        return [one.claimed.octets for one in taken.ready]

    system.write(accepting("x", deployment=ROUTED))
    assert claim() == [RAW]
    damage(system, RAW)
    assert claim() == [None]


def test_only_the_pieces_that_are_read_are_checked(system):
    large = random.Random(2).randbytes(3 * PIECE)
    system.write(accepting("x", raw=large))
    damage(system, large[PIECE : 2 * PIECE], start=PIECE)
    whole = partial(reading.raw, account=ACCOUNT, message_id="m1")
    assert system.long_read(lambda tx: tx.octets("m1", start=0, limit=PIECE)) == large[:PIECE]
    assert system.long_read(lambda tx: tx.octets("m1", start=2 * PIECE, limit=PIECE)) == large[2 * PIECE :]
    for start, limit in [(PIECE - 1, 2), (PIECE, 1), (2 * PIECE - 1, 1), (0, 3 * PIECE)]:
        with pytest.raises(ports.Damaged):
            system.long_read(lambda tx, start=start, limit=limit: tx.octets("m1", start=start, limit=limit))
    with pytest.raises(ports.Damaged):
        system.long_read(whole)


def test_bytes_of_another_message_are_damage(system):
    system.write(accepting("x"))
    system.write(accepting("x", message_id="m2", raw=RAW + b"other"))
    change(
        system,
        "octets = (SELECT octets FROM message_bodies WHERE message_id = 'm2'), "
        "checksum = (SELECT checksum FROM message_bodies WHERE message_id = 'm2')",
    )
    with pytest.raises(ports.Damaged):
        system.long_read(READERS["octets"])


def test_bytes_without_a_checksum_are_read_as_before(system):
    """Servers of the previous version store none."""
    system.write(accepting("x"))
    change(system, "checksum = NULL")
    assert system.long_read(lambda tx: tx.octets("m1", start=0, limit=99)) == RAW


# Work that goes on without the bytes


def test_the_trace_of_a_damaged_message_is_shown_without_its_header(system):
    raw = b"Authentication-Results: other.example; spf=pass\r\n" + RAW
    system.write(accepting("x", raw=raw))
    before = system.long_read(trace.message_details, ACCOUNT, "m1")
    assert before.authentication_results
    damage(system, raw)
    found = system.long_read(trace.message_details, ACCOUNT, "m1")
    assert (found.message, found.events, found.authentication_results) == (before.message, before.events, ())
    assert system.long_read(trace.beginning_of, "m1", HEADER_LIMIT) == b""
