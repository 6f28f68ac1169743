"""Whose a refusal is: of the account that owned the recipient when it happened, and of nobody if none did."""

from tests.kit.servers.smtp_server import FakeStore, on_our_loop, serving
from tests.kit.values import TENANT
from waypost.app import ports
from waypost.domain.directory import addresses
from waypost.observe import events
from waypost.smtp.backend.reception import Reception
from waypost.smtp.limits.guessing import SIZES
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.requests import RecipientGiven

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


async def refused_as_a_guesser(served, recipient):
    """The reply to a recipient of a client for which too many replies are waiting."""
    for _ in range(SIZES[0].free.burst + 100):
        served.house.admission._guessing.count("192.0.2.1", served.house.clock())
    reception = Reception(served.house, peer="192.0.2.1", are_strangers=True)
    asked = RecipientGiven(addresses.parse(recipient))

    async def pause(_):
        pass

    while (reply := await reception.answer(asked, pause)) != replies.TOO_MANY_UNKNOWN:
        pass
    await served.house.refusals.close()
    return reply


@on_our_loop
async def test_a_refusal_for_guessing_is_of_the_account_that_owns_the_recipient():
    for recipient, account in (("Support@example.com", TENANT.account), ("nobody@example.com", "")):
        store = FakeStore()
        async with serving(store) as served:
            await refused_as_a_guesser(served, recipient)
            assert refusals_in(store)[-1] == (recipient, "rcpt", account)


@on_our_loop
async def test_a_refusal_for_guessing_is_answered_alike_where_the_store_cannot_say_whose_it_is():
    store = FakeStore()
    store.at_read = ports.StoreUnavailable("gone")
    async with serving(store) as served:
        assert await refused_as_a_guesser(served, "support@example.com") == replies.TOO_MANY_UNKNOWN
        assert refusals_in(store)[-1] == ("support@example.com", "rcpt", "")
