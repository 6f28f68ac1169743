"""The bytes of messages on both stores: any size and any range is stored and read exactly."""

import random
from datetime import timedelta
from functools import partial

import pytest

from tests.kit.stores.calls import create
from tests.kit.values import NOW
from tests.store.contract.mail.test_mail import accepting
from waypost.app import ports
from waypost.app.mail import accept
from waypost.domain import errors
from waypost.store.common.transaction.messages import PIECE

MIB = 1024 * 1024


@pytest.fixture
def system(store, instance):
    create(store, "x")
    return store


def octets(store, start, limit, message_id="m1"):
    return store.long_read(lambda tx: tx.octets(message_id, start=start, limit=limit))


def ends_of_pieces(size):
    """Return offsets at which an off-by-one error would show."""
    places = {0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, size - 1, size, size + 1, size + PIECE, 10 * size + 7}
    return sorted(place for place in places if place >= 0)


@pytest.mark.parametrize("size", [0, 1, 2, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * MIB + 3], ids=str)
def test_every_range_of_a_message_is_read_exactly(system, size):
    chance = random.Random(size)
    raw = chance.randbytes(size)
    message = system.write(accepting("x", raw=raw))
    system.write(accepting("x", raw=b"another message before and after it" * 9, message_id="m0"))
    system.write(accepting("x", raw=chance.randbytes(PIECE + 5), message_id="m2"))

    parts = [(start, limit) for start in ends_of_pieces(size) for limit in (0, 1, 2)]
    parts += [(chance.randrange(size + 10), chance.randrange(3 * PIECE)) for _ in range(10)]
    parts += [(chance.randrange(size + 10), chance.randrange(100)) for _ in range(10)]
    assert message.size == size
    assert octets(system, 0, size) == octets(system, 0, 10 * size + 10) == raw

    def compared(tx):
        found = [(tx.octets("m1", start=start, limit=limit), start, limit) for start, limit in parts]
        return [(start, limit) for part, start, limit in found if part != raw[start : start + limit]]

    assert system.long_read(compared) == []
    assert system.another().long_read(compared) == []
    assert type(octets(system, 0, 5)) is bytes


def test_consecutive_ranges_give_the_whole_message(system):
    raw = random.Random(1).randbytes(2 * PIECE + 12_345)
    system.write(accepting("x", raw=raw))
    for step in (65_536, 100_000, PIECE):
        assert b"".join(octets(system, start, step) for start in range(0, len(raw), step)) == raw


@pytest.mark.parametrize("raw", [bytes(range(256)), b"\0" * 999, b"\\x00'\"\r\n.\r\n", b"\xff\xfe"], ids=str)
def test_all_byte_values_are_stored_unchanged(system, raw):
    system.write(accepting("x", raw=raw))
    assert octets(system, 0, 1000) == raw


def test_a_large_message_that_fails_at_the_end_leaves_no_pieces_behind(system):
    def half(tx):
        accepting("x", raw=bytes(3 * MIB))(tx)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        system.write(half)
    assert system.count("messages", "message_bodies") == {"messages": 0, "message_bodies": 0}


HEADER = b"Subject: in pieces\r\n\r\n"


def in_pieces(system, sizes, message_id="m1", *, now=NOW):
    """Store all but the last piece of a message. Return all pieces, and the use case that completes the message."""
    chance = random.Random(len(sizes))
    pieces = [HEADER, *(chance.randbytes(size) for size in sizes)]
    start = 0
    for piece in pieces[:-1]:
        system.write(partial(accept.keep_octets, message_id=message_id, octets=piece, start=start, now=now))
        start += len(piece)
    return pieces, accepting("x", raw=pieces[-1], message_id=message_id, header=HEADER, kept=start)


@pytest.mark.parametrize("sizes", [[0], [1], [5, 0], [PIECE, 1], [PIECE + 7, 3, 2 * PIECE, 9], [4096] * 40], ids=str)
def test_a_message_that_arrives_in_pieces_is_stored_completely(system, sizes):
    pieces, end = in_pieces(system, sizes)
    message = system.write(end)
    assert (message.size, message.subject) == (len(b"".join(pieces)), "in pieces")
    assert octets(system, 0, message.size + 1) == b"".join(pieces)
    assert octets(system, len(HEADER) - 1, 5) == b"".join(pieces)[len(HEADER) - 1 :][:5]
    assert system.count("messages_begun") == {"messages_begun": 0}
    assert system.write(lambda tx: tx.remove_octets("m1")) is False
    assert octets(system, 0, 4) == HEADER[:4]


def test_the_pieces_of_an_abandoned_message_are_deleted(system):
    in_pieces(system, [PIECE, 1, 1])
    in_pieces(system, [PIECE, 1], "m2")
    system.write(partial(accept.forget_octets, message_id="m1"))
    assert octets(system, 0, 10) == b""
    assert octets(system, 0, 4, "m2") == HEADER[:4]
    system.write(partial(accept.forget_octets, message_id="m2"))
    assert system.count("message_bodies", "messages_begun") == {"message_bodies": 0, "messages_begun": 0}


def test_a_purge_deletes_the_pieces_of_a_crashed_server_but_not_of_a_message_in_transfer(system):
    _, end = in_pieces(system, [1, 1], "new")
    for number in range(accept.LISTED_AT_ONCE + 1):
        in_pieces(system, [0], f"old {number}", now=NOW - accept.LONGEST_TRANSFER - timedelta(seconds=1))
    listed = []
    while found := system.long_read(accept.unfinished, begun_before=NOW - accept.LONGEST_TRANSFER):
        listed.append(len(found))
        for message_id in found:
            assert system.write(partial(accept.forget_octets, message_id=message_id)) is False
    assert listed == [accept.LISTED_AT_ONCE, 1]
    assert system.write(end).size == len(HEADER) + 2
    assert system.count("messages_begun") == {"messages_begun": 0}


def test_a_message_whose_first_pieces_were_deleted_is_not_accepted(system):
    _, end = in_pieces(system, [1, 1])
    system.write(partial(accept.forget_octets, message_id="m1"))
    with pytest.raises(ports.StoreUnavailable, match="no longer has the first 23 bytes of message m1"):
        system.write(end)
    assert system.count("messages", "deliveries", "message_bodies") == dict.fromkeys(
        ("messages", "deliveries", "message_bodies"), 0
    )


def test_the_pieces_of_a_message_that_is_refused_at_its_end_can_be_deleted(system):
    _, end = in_pieces(system, [1, 1])
    system.write(lambda tx: tx.remove_email_address("x"))
    with pytest.raises(errors.RecipientsChanged):
        system.write(end)
    system.write(partial(accept.forget_octets, message_id="m1"))
    assert system.count("message_bodies") == {"message_bodies": 0}


def test_a_piece_that_arrives_after_its_message_was_deleted_is_not_stored(system):
    in_pieces(system, [1000, 5])
    system.write(partial(accept.forget_octets, message_id="m1"))
    late = partial(accept.keep_octets, message_id="m1", octets=b"late", start=1005, now=NOW)
    with pytest.raises(ports.StoreUnavailable, match="no longer has the first 1005 bytes of message m1"):
        system.write(late)
    assert system.count("message_bodies", "messages_begun") == {"message_bodies": 0, "messages_begun": 0}


def test_pieces_are_deleted_in_batches_and_never_from_a_complete_message(system):
    count = 2 * accept.FORGOTTEN_AT_ONCE + 3
    in_pieces(system, [5] * count)
    _, end = in_pieces(system, [5] * 3, "m2")
    system.write(end)
    forget = partial(accept.forget_octets, message_id="m1")
    before = system.count("message_bodies")["message_bodies"]
    assert system.write(forget) is True
    assert system.count("message_bodies") == {"message_bodies": before - accept.FORGOTTEN_AT_ONCE}
    assert system.count("messages_begun") == {"messages_begun": 1}
    assert [system.write(forget), system.write(forget)] == [True, False]
    assert system.write(partial(accept.forget_octets, message_id="m2")) is False
    assert system.count("message_bodies", "messages_begun") == {"message_bodies": 4, "messages_begun": 0}
    assert system.write(lambda tx: tx.trim_octets("m2", limit=9)) == 0
