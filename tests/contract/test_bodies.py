"""The octets of messages on both stores: any size, any part, to the octet."""

import random

import pytest

from tests.contract.calls import create
from tests.contract.test_mail import accepting
from waypost.store.postgres_transaction import PIECE

MIB = 1024 * 1024


@pytest.fixture
def house(store, instance):
    create(store, "x")
    return store


def octets(store, start, limit, message_id="m1"):
    return store.search(lambda tx: tx.octets(message_id, start=start, limit=limit))


def ends_of_pieces(size):
    """Places where something may be off by one."""
    places = {0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, size - 1, size, size + 1, size + PIECE, 10 * size + 7}
    return sorted(place for place in places if place >= 0)


@pytest.mark.parametrize("size", [0, 1, 2, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * MIB + 3], ids=str)
def test_every_part_is_what_slicing_gives(house, size):
    chance = random.Random(size)
    raw = chance.randbytes(size)
    message = house.write(accepting("x", raw=raw))
    house.write(accepting("x", raw=b"before and behind it is another one" * 9, message_id="m0"))
    house.write(accepting("x", raw=chance.randbytes(PIECE + 5), message_id="m2"))

    parts = [(start, limit) for start in ends_of_pieces(size) for limit in (0, 1, 2)]
    parts += [(chance.randrange(size + 10), chance.randrange(3 * PIECE)) for _ in range(10)]
    parts += [(chance.randrange(size + 10), chance.randrange(100)) for _ in range(10)]
    assert message.size == size
    assert octets(house, 0, size) == octets(house, 0, 10 * size + 10) == raw

    def compared(tx):
        found = [(tx.octets("m1", start=start, limit=limit), start, limit) for start, limit in parts]
        return [(start, limit) for part, start, limit in found if part != raw[start : start + limit]]

    assert house.search(compared) == []
    assert house.another().search(compared) == []
    assert type(octets(house, 0, 5)) is bytes


def test_a_message_in_parts_is_the_message(house):
    raw = random.Random(1).randbytes(2 * PIECE + 12_345)
    house.write(accepting("x", raw=raw))
    for step in (65_536, 100_000, PIECE):
        assert b"".join(octets(house, start, step) for start in range(0, len(raw), step)) == raw


@pytest.mark.parametrize("raw", [bytes(range(256)), b"\0" * 999, b"\\x00'\"\r\n.\r\n", b"\xff\xfe"], ids=str)
def test_any_octets_are_kept(house, raw):
    house.write(accepting("x", raw=raw))
    assert octets(house, 0, 1000) == raw


def test_a_large_message_that_fails_at_the_end_leaves_no_part_of_it(house):
    def half(tx):
        accepting("x", raw=bytes(3 * MIB))(tx)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        house.write(half)
    assert house.count("messages", "message_bodies") == {"messages": 0, "message_bodies": 0}
