"""Whose a refusal is: of the account that owned the recipient when it happened, and of nobody if none did."""

from tests.kit.servers.smtp_server import FakeStore, on_our_loop, serving
from tests.kit.values import TENANT
from waypost.app import ports
from waypost.observe import events

LOOPING = ["Received: from a.example by b.example"] * 101


def refusals_in(store):
    """What is kept of refusals: the recipient, the stage and the account."""
    query = "SELECT recipient, stage, account FROM refusals ORDER BY number"
    return store._tx.connection.execute(query).fetchall()


async def send_a_loop(client, *, before_data=lambda: None):
    client.say("EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<nobody@example.com>")
    while not (await client.hear()).startswith("550"):
        pass
    client.say("RCPT TO:<Support@example.com>")
    assert (await client.hear()).startswith("250")
    before_data()
    client.say("DATA")
    assert (await client.hear()).startswith("354")
    client.say(*LOOPING, "", "Hello.", ".")
    assert (await client.hear()).startswith("554 5.4.6")


@on_our_loop
async def test_a_refusal_is_of_the_account_that_owns_the_recipient_then():
    store = FakeStore()
    async with serving(store) as served, served.client() as client:
        await send_a_loop(client)
        await served.house.refusals.close()
        assert refusals_in(store) == [
            ("nobody@example.com", "rcpt", ""),
            ("Support@example.com", "message", TENANT.account),
        ]


@on_our_loop
async def test_where_the_store_cannot_say_whose_a_recipient_is_the_refusal_is_nobody_s():
    """So that it is told to the server's owner, and the mail is refused in any case."""
    store = FakeStore()

    def fail():
        store.at_read = ports.StoreUnavailable("gone")

    async with serving(store) as served, served.client() as client:
        await send_a_loop(client, before_data=fail)
        await served.house.refusals.close()
        assert refusals_in(store)[1] == ("Support@example.com", "message", "")
        assert served.emitted_of(events.StoreFailed)
