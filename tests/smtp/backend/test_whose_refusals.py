"""Tests that a refusal belongs to the account that owned the recipient at the time, or to no account."""

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
    """The recipient, stage and account of each refusal in the store."""
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
async def test_a_refusal_belongs_to_the_account_that_owned_the_recipient_at_the_time():
    store = FakeStore()
    async with serving(store) as served, served.client() as client:
        await send_a_loop(client)
        await served.backend.refusals.close()
        assert refusals_in(store) == [
            ("nobody@example.com", "rcpt", ""),
            ("Support@example.com", "message", TENANT.account),
        ]


@on_our_loop
async def test_a_refusal_belongs_to_no_account_if_the_store_fails():
    """The server's owner can then see the refusal, and the mail is refused anyway."""
    store = FakeStore()

    def fail():
        store.at_read = ports.StoreUnavailable("gone")

    async with serving(store) as served, served.client() as client:
        await send_a_loop(client, before_data=fail)
        await served.backend.refusals.close()
        assert refusals_in(store)[1] == ("Support@example.com", "message", "")
        assert served.emitted_of(events.StoreFailed)


async def refuse_for_guessing(served, recipient):
    """Return the reply to RCPT from a client for which too many replies are already delayed."""
    for _ in range(SIZES[0].free.burst + 100):
        served.backend.admission._guessing.count("192.0.2.1", served.backend.clock())
    reception = Reception(served.backend, peer="192.0.2.1", trusted=False)
    asked = RecipientGiven(addresses.parse(recipient))

    async def pause(_):
        pass

    while (reply := await reception.answer(asked, pause)) != replies.TOO_MANY_UNKNOWN:
        pass
    await served.backend.refusals.close()
    return reply


@on_our_loop
async def test_a_refusal_for_guessing_belongs_to_the_account_that_owns_the_recipient():
    for recipient, account in (("Support@example.com", TENANT.account), ("nobody@example.com", "")):
        store = FakeStore()
        async with serving(store) as served:
            await refuse_for_guessing(served, recipient)
            assert refusals_in(store)[-1] == (recipient, "rcpt", account)


@on_our_loop
async def test_a_refusal_for_guessing_has_the_same_reply_if_the_store_fails():
    store = FakeStore()
    store.at_read = ports.StoreUnavailable("gone")
    async with serving(store) as served:
        assert await refuse_for_guessing(served, "support@example.com") == replies.TOO_MANY_UNKNOWN
        assert refusals_in(store)[-1] == ("support@example.com", "rcpt", "")
