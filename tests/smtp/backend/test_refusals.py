"""Tests that refusals need little space in the store, even if a header is long, and that transactions are short."""

import asyncio
from datetime import UTC, datetime

import pytest

from tests.kit.servers.smtp_server import FakeStore, on_our_loop, serving
from tests.kit.supervised import supervised
from waypost.app import ports
from waypost.smtp.backend.refusals import AT_ONCE, KEPT_AT_ONCE, Refusals
from waypost.smtp.protocol import replies

LONG_PATH = [f"Received: by {'x' * 250}"] * 101
"""101 Received fields are a mail loop. Their host names have 25 KB in total."""


async def send_a_loop(served, *recipients):
    """Send a message with too many Received fields to `recipients`, and return the refusals in the store."""
    async with served.client() as client:
        client.say("EHLO client.example", "MAIL FROM:<a@client.example>", *(f"RCPT TO:<{one}>" for one in recipients))
        client.say("DATA")
        await client.hear_until("354")
        client.say(*LONG_PATH, "", "Hello.", ".")
        assert (await client.hear()).startswith("554 5.4.6")
    await served.backend.refusals.close()
    query = "SELECT recipient, detail, length(recipient || helo || sender || reply || detail) FROM refusals"
    return served.backend.store._tx.connection.execute(query).fetchall()


@on_our_loop
async def test_a_refused_message_to_the_same_address_a_hundred_times_is_recorded_once():
    async with serving(FakeStore()) as served:
        ((recipient, _, octets),) = await send_a_loop(served, *["support@example.com", "Support@Example.com"] * 50)
        assert recipient.lower() == "support@example.com"
        assert octets < 2_500


@on_our_loop
async def test_the_refusal_of_a_message_with_a_long_path_has_only_the_last_hops():
    async with serving(FakeStore()) as served:
        ((_, detail, _),) = await send_a_loop(served, "support@example.com")
        assert detail.count("x" * 250) == 4
        assert "(earlier servers)" in detail


class _Transactions:
    """A store that records what each transaction adds, and fails from a given transaction on."""

    def __init__(self, fails_at=10**6):
        self.added = []
        self._fails_at = fails_at

    def add_refusals(self, refusals):
        self.added.append([one.recipient_key for one in refusals])

    async def write(self, use_case):
        await asyncio.sleep(0)
        if len(self.added) == self._fails_at:
            raise ports.StoreUnavailable("unavailable")
        use_case(self)


def a_thousand_refusals(store, *, failed=pytest.fail):
    """Create the largest number of refusals that may wait to be stored."""
    found = Refusals(store, lambda: datetime.now(UTC), failed, supervised(pytest.fail))
    for number in range(KEPT_AT_ONCE):
        found.add(None, replies.NO_SUCH_USER, stage="rcpt", peer="192.0.2.1", helo=f"{number}", sender="")
    return found


def test_a_thousand_refusals_are_stored_in_small_transactions():
    async def scenario():
        store = _Transactions()
        await a_thousand_refusals(store).close()
        sizes = [len(added) for added in store.added]
        assert max(sizes) == AT_ONCE
        assert sum(sizes) == KEPT_AT_ONCE

    asyncio.run(scenario())


def test_if_the_store_fails_the_remaining_refusals_are_dropped_and_one_error_is_logged():
    async def scenario():
        errors = []
        store = _Transactions(fails_at=2)
        refusals = a_thousand_refusals(store, failed=errors.append)
        await refusals.close()
        await refusals.close()
        assert (len(store.added), len(errors)) == (2, 1)

    asyncio.run(scenario())


def test_closing_waits_for_refusals_that_are_being_stored():
    async def scenario():
        store = _Transactions()
        refusals = a_thousand_refusals(store)
        keeping = asyncio.create_task(refusals._flush())
        await asyncio.sleep(0)
        await refusals.close()
        assert sum(map(len, store.added)) == KEPT_AT_ONCE
        await keeping

    asyncio.run(scenario())
