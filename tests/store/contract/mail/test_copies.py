"""Copies of messages are read part by part."""

import pytest

from tests.kit.values import TENANT, a_delivery, a_message
from waypost.app.mail import copies

RAW = bytes(range(256)) * 4


async def read(found, store, parts):
    async for part in copies.parts(store, TENANT.account, found.copy, found.octets):
        parts.append(part)


@pytest.fixture
def begun(store, monkeypatch):
    """The beginning of a message of 1,024 bytes, of which 300 are read at once."""
    monkeypatch.setattr(copies, "PART", 300)
    message = a_message("m1", size=len(RAW))
    store.write(lambda tx: tx.add_message(message, RAW, [a_delivery("a", "m1")], []))
    return store.long_read(copies.contents, TENANT.account, "m1", limit=copies.PART)


def test_a_message_is_read_in_parts(store, begun):
    parts = []
    store.run(read(begun, store.store, parts))
    header = begun.copy.trace_header
    assert [len(part) for part in parts] == [len(header) + 300, 300, 300, 124]
    assert b"".join(parts) == header + RAW


def test_a_message_that_is_deleted_while_it_is_read_is_incomplete(store, begun):
    parts = []
    with pytest.raises(copies.Gone):
        store.run(read(begun, _Emptied(), parts))
    assert len(parts) == 1


class _Emptied:
    async def long_read(self, *_, **__):
        return b""
