"""Tests that the server looks up a known recipient only once, and forgets it when the directory changes."""

from tests.kit.servers.smtp_server import HELLO, FakeStore, on_both_loops, serving
from tests.smtp.limits.test_guessing import exceed_the_free_guesses, until_replies_are_delayed

RCPT = HELLO[2]


async def codes(client, *commands, greet=True):
    """Send commands in one write, and return the replies' codes and enhanced codes, without the reply to EHLO."""
    client.say(*([HELLO[0]] if greet else []), *commands, "NOOP")
    lines = await client.hear_until("250 2.0.0 OK")
    return [line[:9] for line in lines if not line.startswith("250-") and line[4:5].isdigit()][:-1]


@on_both_loops
async def test_a_known_recipient_is_looked_up_once_for_all_connections():
    store = FakeStore()
    store.version = 2
    async with serving(store) as served:
        for _ in range(3):
            async with served.client() as client:
                assert (await codes(client, HELLO[1], RCPT, RCPT))[-2:] == ["250 2.1.5", "250 2.1.5"]
    assert store.reads == 1


@on_both_loops
async def test_a_removed_address_is_unknown_at_the_next_rcpt():
    store = FakeStore()
    store.version = 2
    async with serving(store) as served, served.client() as client:
        assert (await codes(client, HELLO[1], RCPT))[-1] == "250 2.1.5"
        store._tx.remove_email_address("support")
        for version in (None, 4, 4):
            store.version = version
            assert (await codes(client, RCPT, greet=False)) == ["550 5.1.1"]


@on_both_loops
async def test_without_versions_each_recipient_is_looked_up():
    store = FakeStore()
    async with serving(store) as served, served.client() as client:
        await codes(client, HELLO[1], RCPT, RCPT)
    assert store.reads == 2


@on_both_loops
async def test_an_unknown_recipient_and_a_recipient_of_a_bounce_are_looked_up_each_time():
    store = FakeStore()
    store.version = 2
    async with serving(store) as served, served.client() as client:
        unknown = "RCPT TO:<nobody@example.com>"
        found = await codes(client, HELLO[1], unknown, unknown, HELLO[0], "MAIL FROM:<>", RCPT, RCPT)
        assert [code for code in found if code[4:] in {"5.1.1", "2.1.5"}] == ["550 5.1.1"] * 2 + ["250 2.1.5"] * 2
    assert store.reads >= 4


@on_both_loops
async def test_the_reply_to_a_client_that_guesses_is_delayed_for_a_known_recipient_too():
    store = FakeStore()
    store.version = 2
    async with serving(store) as served, served.client() as client:
        await codes(client, HELLO[1], RCPT)
        exceed_the_free_guesses(served)
        client.say(RCPT)
        await until_replies_are_delayed(served)
