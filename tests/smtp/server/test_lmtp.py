"""Tests of LMTP (RFC 2033) over real sockets: a message gets a reply for each of its recipients."""

import asyncio
import smtplib

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.servers.smtp_server import ACCEPTED, TRY_AGAIN, FakeStore, on_both_loops, serving
from tests.kit.values import NOW, an_email_address
from waypost.app import ports
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.mail.messages import loop_token
from waypost.observe import events

LMTP = {"lmtp": True}
GREETING = "220 mail.example LMTP Waypost"
TWO = ["RCPT TO:<help@example.com>", "RCPT TO:<support@example.com>"]
HELLO = ["LHLO mta.example", "MAIL FROM:<a@client.example>"]


def a_store(**options):
    """A store with an alias and its primary."""
    store = FakeStore(**options)
    store._tx.add_email_address(an_email_address("help"), {})
    store._tx.add_link(AliasLink(primary_id="support", alias_id="help", created_at=NOW))
    return store


def deliveries(store):
    """The address and reason of every delivery, for each message."""
    ids = [row[0] for row in store._tx.connection.execute("SELECT id FROM messages ORDER BY id")]
    return [
        [(made.address.text, made.reason.value) for made in store._tx.deliveries_of("000000000000", message_id)]
        for message_id in ids
    ]


@on_both_loops
async def test_each_recipient_gets_a_reply_and_the_message_is_stored_once():
    store = a_store()
    async with serving(store, capabilities=LMTP) as served, served.client(GREETING) as client:
        client.say(*HELLO, *TWO, "DATA", "Hello.", ".", "QUIT")
        *_, first, second, bye = await client.hear_all()
        assert ACCEPTED.fullmatch(first)
        assert first == second
        assert bye == "221 2.0.0 Bye"
        assert store.kept == [b"Hello.\r\n"]
        assert deliveries(store) == [[("help@example.com", "direct"), ("support@example.com", "direct")]]


@on_both_loops
async def test_mail_for_an_alias_is_also_delivered_to_its_primary_and_gets_one_reply():
    store = a_store()
    async with serving(store, capabilities=LMTP) as served, served.client(GREETING) as client:
        client.say(*HELLO, TWO[0], "DATA", "Hello.", ".", "NOOP", "QUIT")
        *_, go_ahead, answer, noop, _ = await client.hear_all()
        assert (go_ahead[:3], noop) == ("354", "250 2.0.0 OK")
        assert ACCEPTED.fullmatch(answer)
        assert deliveries(store) == [[("help@example.com", "direct"), ("support@example.com", "forwarded")]]
        (accepted,) = store._tx.trace(ACCEPTED.fullmatch(answer)["id"])[:1]
        assert accepted.detail.protocol == "LMTP"


@on_both_loops
async def test_refused_recipients_get_no_reply_to_the_message():
    store = a_store()
    async with serving(store, capabilities=LMTP) as served, served.client(GREETING) as client:
        client.say(*HELLO, TWO[0], "RCPT TO:<nobody@example.com>", TWO[1], "DATA", "Hello.", ".", "QUIT")
        codes = [line[:3] for line in await client.hear_all() if not line.startswith("250-")]
        assert codes == ["250", "250", "250", "550", "250", "354", "250", "250", "221"]


@on_both_loops
async def test_an_internal_error_gives_a_reply_for_each_recipient():
    store = a_store(at_write=ports.StoreUnavailable("secret"))
    async with serving(store, capabilities=LMTP) as served, served.client(GREETING) as client:
        client.say(*HELLO, *TWO, "DATA", "Hello.", ".", "QUIT")
        *_, first, second, _ = await client.hear_all()
        assert TRY_AGAIN.fullmatch(first)
        assert first == second
        assert len(served.emitted_of(events.StoreFailed)) == 1


@on_both_loops
async def test_a_mail_loop_gives_a_reply_for_each_recipient():
    store = a_store()
    async with serving(store, capabilities=LMTP) as served, served.client(GREETING) as client:
        token = loop_token(b"key", "help")
        client.say(*HELLO, *TWO, "DATA", f"X-Waypost-Loop: {token}", "", ".", "QUIT")
        *_, first, second, _ = await client.hear_all()
        assert first == second == "554 5.4.6 Mail loop: this message has been forwarded here before"
        assert store.kept == []


@on_both_loops
async def test_a_message_that_is_too_big_gives_a_reply_for_each_recipient():
    store = a_store()
    async with serving(store, capabilities=LMTP | {"message_limit": 10}) as served, served.client(GREETING) as client:
        client.say(*HELLO, *TWO, "DATA", "More than that.", ".", "QUIT")
        *_, first, second, _ = await client.hear_all()
        assert first == second == "552 5.3.4 Message too big; the limit is 10 octets"
        assert store.kept == []


@on_both_loops
async def test_the_last_chunk_has_a_reply_for_each_recipient():
    store = a_store()
    async with serving(store, capabilities=LMTP) as served, served.client(GREETING) as client:
        client.say(*HELLO, *TWO)
        client.writer.write(b"BDAT 5\r\nHelloBDAT 3 LAST\r\n.\r\nQUIT\r\n")
        *_, chunk, first, second, _ = await client.hear_all()
        assert chunk == "250 2.0.0 5 octets received"
        assert ACCEPTED.fullmatch(first)
        assert first == second
        assert store.kept == [b"Hello.\r\n"]


@pytest.mark.parametrize("verb", ["EHLO", "HELO"])
def test_lmtp_refuses_ehlo_and_helo(verb):
    async def scenario():
        async with serving(a_store(), capabilities=LMTP) as served, served.client(GREETING) as client:
            client.say(f"{verb} mta.example", "LHLO mta.example", "MAIL FROM:<>", "QUIT")
            codes = [line[:3] for line in await client.hear_all() if not line.startswith("250-")]
            assert codes == ["500", "250", "250", "221"]

    asyncio.run(scenario())


@on_both_loops
async def test_smtp_refuses_lhlo():
    async with serving(a_store()) as served, served.client() as client:
        client.say("LHLO mta.example", "MAIL FROM:<>", "QUIT")
        assert [line[:3] for line in await client.hear_all()] == ["500", "503"]


@on_both_loops
async def test_the_lmtp_client_of_the_standard_library_can_send_mail():
    store = a_store()
    async with serving(store, capabilities=LMTP) as served:

        def hand_over():
            with smtplib.LMTP(*served.address, local_hostname="mta.example", timeout=PATIENCE) as client:
                return client.sendmail("a@client.example", ["help@example.com", "no@example.com"], b"Hello.\r\n")

        assert await asyncio.to_thread(hand_over) == {"no@example.com": (550, b"5.1.1 No such address here")}
        assert store.kept == [b"Hello.\r\n"]


@on_both_loops
async def test_an_lmtp_client_may_send_any_number_of_unknown_recipients():
    capabilities = LMTP | {"unknown_recipient_limit": 3}
    listener = {"trusted": True}
    async with (
        serving(a_store(), capabilities=capabilities, listener=listener) as served,
        served.client(GREETING) as client,
    ):
        client.say(*HELLO, *["RCPT TO:<unknown@example.com>"] * 50, TWO[0], "QUIT")
        codes = [line[:3] for line in await client.hear_all() if not line.startswith("250-")]
        assert codes == ["250", "250", *["550"] * 50, "250", "221"]
