"""Tests of the SMTP server over real sockets: in normal operation, after internal errors, and while it stops."""

import asyncio
from datetime import UTC, datetime

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.servers.smtp_server import ACCEPTED, MESSAGE, TRY_AGAIN, FakeStore, on_both_loops, serving
from waypost.app import ports
from waypost.domain import errors
from waypost.observe import events
from waypost.smtp.backend.ids import Ids
from waypost.smtp.protocol.session import Session


@on_both_loops
async def test_a_message_is_accepted_only_after_the_store_has_it():
    store = FakeStore(gate_open=False)
    async with serving(store) as served, served.client() as client:
        client.writer.write(MESSAGE)
        await store.asked.wait()
        assert served.emitted_of(events.MessageAccepted) == []
        store.gate.set()
        replies = [await client.hear() for _ in range(15)]
        accepted = ACCEPTED.fullmatch(replies[-1])
        assert store.kept == [b"Hello.\r\n"]
        assert [event.id for event in served.emitted_of(events.MessageAccepted)] == [accepted["id"]]


@on_both_loops
async def test_a_refused_recipient_gets_a_reply_and_is_logged():
    async with serving() as served, served.client() as client:
        client.say("HELO client.example", "MAIL FROM:<>", "RCPT TO:<unknown@example.com>", "QUIT")
        assert (await client.hear_all())[2:] == ["550 5.1.1 No such address here", "221 2.0.0 Bye"]
        (refused,) = served.emitted_of(events.RecipientRefused)
        assert refused.reply == "550 5.1.1 No such address here"


@pytest.mark.parametrize("where", ["at_read", "at_write"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("secret /var/lib"), events.Failed),
        (ports.StoreUnavailable("secret /var/lib"), events.StoreFailed),
        (errors.Busy("secret /var/lib"), events.StoreFailed),
        (errors.Duplicate("secret /var/lib"), events.Failed),
    ],
    ids=["unexpected", "unavailable", "busy", "unexpected refusal"],
)
def test_an_internal_error_is_a_temporary_failure_and_its_cause_is_only_logged(where, error, kind):
    async def scenario():
        async with serving(FakeStore(**{where: error})) as served, served.client() as client:
            client.writer.write(MESSAGE if where == "at_write" else MESSAGE.partition(b"DATA")[0])
            client.say("QUIT")
            replies = await client.hear_all()
            (failure,) = filter(None, map(TRY_AGAIN.fullmatch, replies))
            assert "secret" not in " ".join(replies)
            (failed,) = served.emitted_of(kind)
            assert (failed.where, failed.id, failed.cause) == ("smtp", failure["id"], error)

    asyncio.run(scenario())


@on_both_loops
async def test_a_message_is_answered_when_it_is_on_disk_and_does_not_wait_for_the_next_message():
    store = FakeStore(gate_open=False)
    async with serving(store) as served, served.client() as client:
        client.writer.write(MESSAGE + MESSAGE)
        await store.asked.wait()
        store.asked.clear()
        store.gate.set()
        store.gate.clear()
        await store.asked.wait()
        assert len(store.kept) == 1
        try:
            async with asyncio.timeout(PATIENCE):
                assert ACCEPTED.fullmatch([await client.hear() for _ in range(15)][-1])
        finally:
            store.gate.set()


@on_both_loops
async def test_stopping_answers_the_current_message_and_closes_all_connections():
    store = FakeStore(gate_open=False)
    async with serving(store) as served, served.client() as busy, served.client() as idle:
        busy.writer.write(MESSAGE)
        await store.asked.wait()
        stopping = asyncio.create_task(served.server.stop())
        assert await idle.hear() == "421 4.3.2 Server is shutting down; please try again later"
        assert not stopping.done()
        store.gate.set()
        *_, answer, farewell = await busy.hear_all()
        assert ACCEPTED.fullmatch(answer)
        assert farewell == "421 4.3.2 Server is shutting down; please try again later"
        idle.writer.close()
        busy.writer.close()
        await stopping
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection(*served.address)


@on_both_loops
async def test_a_session_that_the_server_ends_is_logged_once():
    store = FakeStore(gate_open=False)
    async with serving(store) as served, served.client() as busy:
        busy.writer.write(MESSAGE)
        await store.asked.wait()
        stopping = asyncio.create_task(served.server.stop())
        store.gate.set()
        await busy.hear_all()
        busy.writer.close()
        await stopping
        assert len(served.emitted_of(events.SessionClosed)) == 1


@on_both_loops
async def test_stopping_does_not_wait_for_an_incomplete_message():
    async with serving() as served, served.client() as client:
        client.writer.write(MESSAGE.removesuffix(b".\r\n"))
        while await client.hear() != "354 End data with <CR><LF>.<CR><LF>":
            pass
        stopping = asyncio.create_task(served.server.stop())
        assert await client.hear_all() == ["421 4.3.2 Server is shutting down; please try again later"]
        client.writer.close()
        await stopping
        (closed,) = served.emitted_of(events.SessionClosed)
        assert closed.reply == "421 4.3.2 Server is shutting down; please try again later"


def test_an_exception_in_the_session_is_a_temporary_failure(monkeypatch):
    def fail(*_):
        raise RuntimeError("secret /var/lib")

    async def scenario():
        async with serving() as served, served.client() as client:
            client.say("EHLO client.example", "MAIL FROM:<>", "RCPT TO:<support@example.com>", "NOOP")
            monkeypatch.setattr(Session, "answer", fail)
            try:
                async with asyncio.timeout(PATIENCE):
                    assert TRY_AGAIN.fullmatch((await client.hear_all())[-1])
            finally:
                monkeypatch.undo()
                for connection in served.server._connections:
                    connection._transport.abort()
                await served.until_nobody_is_connected()
            assert served.emitted_of(events.Failed)

    asyncio.run(scenario())


def test_ids_stay_in_order_when_the_clock_is_set_back():
    moments = [datetime(2026, 11, 22, 12, 0, second, tzinfo=UTC) for second in (5, 5, 3, 4, 6)]
    new = Ids().new
    ids = [new(moment) for moment in moments]
    assert ids == sorted(ids)


@on_both_loops
async def test_open_connections_are_counted_by_the_state_of_their_sessions():
    async with serving() as served, served.client() as client:
        for line, state in (
            ("NOOP", "start"),
            ("EHLO client.example", "ready"),
            ("MAIL FROM:<>", "mail"),
            ("RCPT TO:<support@example.com>", "rcpt"),
            ("DATA", "data"),
        ):
            client.say(line)
            while (await client.hear())[3:4] != " ":
                pass
            assert served.server.count_states() == {state: 1}
