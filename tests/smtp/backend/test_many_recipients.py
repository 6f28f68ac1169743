"""Tests that the reply to a message with many recipients comes after all of its deliveries are stored."""

import pytest

from tests.kit.patience import until
from tests.kit.servers.smtp_server import FakeStore, on_our_loop, serving
from tests.kit.values import an_email_address
from waypost.app import ports
from waypost.app.mail import accept
from waypost.observe import events
from waypost.smtp.backend import unstored_deliveries

NAMES = [f"r{number:02}" for number in range(accept.STORED_AT_ONCE + 10)]


class Store(FakeStore):
    """A store with many email addresses. Writes after the first `writes` fail."""

    def __init__(self, writes=1_000):
        super().__init__()
        self.writes_left = writes
        for name in NAMES:
            self._tx.add_email_address(an_email_address(name), {})

    async def write(self, use_case, **_):
        if self.writes_left == 0:
            raise ports.StoreUnavailable("the disk is gone")
        self.writes_left -= 1
        return await super().write(use_case)

    def count(self, table):
        return self._tx.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


async def reply_to_a_message(client):
    client.say("EHLO client.example", "MAIL FROM:<a@client.example>")
    client.say(*(f"RCPT TO:<{name}@example.com>" for name in NAMES), "DATA")
    while not (await client.hear()).startswith("354"):
        pass
    client.say("Subject: hello", "", "Hello.", ".")
    return await client.hear()


@on_our_loop
async def test_all_deliveries_are_stored_before_the_reply():
    store = Store()
    async with serving(store) as served, served.client() as client:
        assert (await reply_to_a_message(client)).startswith("250 2.0.0")
        assert (store.count("deliveries"), store.count("planned_deliveries")) == (len(NAMES), 0)


@on_our_loop
async def test_a_message_is_accepted_if_the_store_fails_after_the_transaction_that_accepted_it():
    """The plan is on disk, so the server is responsible for the message."""
    store = Store(writes=1)
    async with serving(store) as served, served.client() as client:
        assert (await reply_to_a_message(client)).startswith("250 2.0.0")
        assert (store.count("messages"), store.count("deliveries"), store.count("planned_deliveries")) == (1, 0, 2)
        assert [event.where for event in served.emitted_of(events.StoreFailed)] == ["smtp"]


@on_our_loop
async def test_deliveries_that_could_not_be_stored_are_stored_as_soon_as_the_store_works_again():
    store = Store(writes=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unstored_deliveries, "PAUSES", (0.001,))
        async with serving(store) as served, served.client() as client:
            assert (await reply_to_a_message(client)).startswith("250 2.0.0")
            await until(lambda: len(served.emitted_of(events.StoreFailed)) > 2)
            store.writes_left = 1_000
            await until(lambda: store.count("deliveries") == len(NAMES))
            assert store.count("planned_deliveries") == 0
