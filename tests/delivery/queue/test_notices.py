"""Notices to senders, in a system with a store and a worker: their time, recipients and cost, and notices after a
crash.
"""

import asyncio
import email
import email.policy
import re
from datetime import timedelta
from functools import partial

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.servers.worker_alone import NEVER, NOT_NOW, PEER, TAKEN, Scripted, a_system
from tests.kit.values import NOW, TENANT
from waypost.app.mail import notify
from waypost.delivery.queue.worker import Worker
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.dsn import notices, returned_content
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Status
from waypost.domain.mail.messages import Dsn, RecipientDsn
from waypost.domain.mail.retention import Inbox
from waypost.domain.mail.routes import Route
from waypost.observe import events

ME = "me@example.com"
HELLO = b"Subject: hello\r\nMessage-ID: <1@client.example>\r\n\r\nHello.\r\n"
SMARTHOST = Route(match="*", to="smtp://smarthost.example:25")
TO_PEER = (Route(match="me@example.com", to="inbox"), Route(match="*", to=PEER))
LOOP = AttemptResult(protocol=Protocol.SMTP, stage=Stage.END, peer=PEER, code=554, enhanced="5.4.6", text="a loop")


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, PATIENCE))


def requesting(count, *notify_, ret="", orcpt=""):
    """The DSN parameters with which a sender requests notices for `count` recipients."""
    return Dsn(ret=ret, recipients=(RecipientDsn(notify_, orcpt),) * count)


def recipient_fields(octets):
    """The fields of each recipient in a notice."""
    notice = email.message_from_bytes(octets, policy=email.policy.default)
    _, *groups = notice.get_payload(1).get_payload()
    return [dict(group.items()) for group in groups]


async def notices_in(system, name="me"):
    """Return the notices in an inbox, oldest first."""
    found = sorted((one for one in await system.inbox(name) if one.envelope.sender == ""), key=lambda one: one.id)
    return [
        await system.store.long_read(partial(_octets, message_id=one.id), what="the data of a test") for one in found
    ]


def _octets(tx, message_id):
    return tx.octets(message_id, start=0, limit=1_000_000)


async def link(system, alias, primary):
    await system.store.write(lambda tx: tx.add_link(AliasLink(primary, alias, NOW)))


# One notice reports several recipients.


def test_one_notice_reports_all_recipients_in_the_order_in_which_the_sender_named_them(tmp_path):
    async def scenario():
        names = ("me", "c", "a", "b")
        async with a_system(tmp_path, Scripted(NEVER), names=names, of_routes=TO_PEER) as system:
            dsn = Dsn(recipients=(RecipientDsn(), RecipientDsn(orcpt="rfc822;old@example.net"), RecipientDsn()))
            message_id = await system.send("c", "a", "b", sender=ME, dsn=dsn, octets=HELLO)
            await system.rest()
            (octets,) = await notices_in(system)
            groups = recipient_fields(octets)
            assert [group["Final-Recipient"] for group in groups] == [f"rfc822; {x}@example.com" for x in "cab"]
            assert [group.get("Original-Recipient") for group in groups] == [None, "rfc822; old@example.net", None]
            assert {group["Diagnostic-Code"] for group in groups} == {"smtp; 550 5.1.1 no such"}
            trace = await system.trace(message_id)
            lines = [event.detail for event in trace if event.kind == "notified"]
            assert sorted(line.address for line in lines) == [f"{x}@example.com" for x in "abc"]
            assert len({line.notice for line in lines}) == 1

    run(scenario())


def test_many_recipients_are_reported_in_several_notices(tmp_path):
    async def scenario():
        names = [f"r{number}" for number in range(2 * notify.AT_ONCE + 1)]
        async with a_system(tmp_path, Scripted(NEVER), names=("me", *names), of_routes=TO_PEER) as system:
            await system.send(*names, sender=ME)
            await system.rest()
            groups = [recipient_fields(octets) for octets in await notices_in(system)]
            assert sorted(map(len, groups)) == [1, notify.AT_ONCE, notify.AT_ONCE]
            assert len({group["Final-Recipient"] for notice in groups for group in notice}) == len(names)

    run(scenario())


def test_a_delivery_that_is_retried_does_not_delay_a_notice_and_gets_a_separate_notice(tmp_path):
    def answer(parcel, _):
        return NEVER if parcel.recipient.startswith("a") or answer.is_later else NOT_NOW

    async def scenario():
        answer.is_later = False
        async with a_system(tmp_path, Scripted(answer=answer), names=("me", "a", "b"), of_routes=TO_PEER) as system:
            await system.send("a", "b", sender=ME)
            await system.rest()
            assert [len(recipient_fields(octets)) for octets in await notices_in(system)] == [1]
            answer.is_later = True
            await system.advance(minutes=5)
            assert [len(recipient_fields(octets)) for octets in await notices_in(system)] == [1, 1]

    run(scenario())


def test_one_notice_reports_the_success_of_all_deliveries_to_inboxes(tmp_path):
    async def scenario():
        async with a_system(tmp_path, names=("me", "a", "b"), of_routes=()) as system:
            await system.send("a", "b", sender=ME, dsn=requesting(2, "SUCCESS"))
            await system.rest()
            (octets,) = await notices_in(system)
            assert [group["Action"] for group in recipient_fields(octets)] == ["delivered", "delivered"]

    run(scenario())


# The cost of notices.


def test_accepting_a_message_writes_no_notice(tmp_path):
    async def scenario():
        async with a_system(tmp_path, names=("me", "a"), of_routes=(), start=False) as system:
            await system.send("a", sender=ME, dsn=requesting(1, "SUCCESS"))
            assert await notices_in(system) == []
            assert await system.store.read(partial(notify.next_owed, now=system.clock())) is not None

    run(scenario())


def test_the_size_of_the_stored_result_of_an_attempt_is_bounded_until_the_notice_is_written(tmp_path):
    long = AttemptResult(
        protocol=Protocol.SMTP,
        stage=Stage.RCPT,
        peer="p" * 9_999,
        code=550,
        enhanced="5" * 9_999,
        text="x \udcff" * 9_999,
    )

    async def scenario():
        async with a_system(tmp_path, Scripted(long), names=("me", "a"), of_routes=TO_PEER, start=False) as system:
            write = system.deps.store.write

            async def keep(use_case):
                if getattr(use_case, "func", None) is not notify.write:
                    return await write(use_case)
                await asyncio.sleep(0)  # a real write always yields to the event loop
                return None

            await system.send("a", sender=ME)
            await system.worker.start()
            system.deps.store.write = keep
            rows = []
            while not rows:
                system.worker.wake()
                await asyncio.sleep(0)
                rows = await system.store.long_read(
                    lambda tx: tx._ask("SELECT length(fate) FROM notices_owed", ()), what="the data of a test"
                )
            system.deps.store.write = write
            await system.rest()
            assert rows[0][0] < 5_000
            assert len(await notices_in(system)) == 1

    run(scenario())


LONG_HEADER = b"Subject: x\r\n" + b"".join(b"X-%03d: %s\r\n" % (number, b"y" * 991) for number in range(255))


@pytest.mark.parametrize(
    ("octets", "ret"), [(LONG_HEADER + b"\r\nhi\r\n", "FULL"), (b"Subject: x\r\n\r\n" + b"y\r\n" * 4000, "FULL")]
)
def test_the_notices_of_a_message_whose_recipients_all_fail_are_little_larger_than_the_message(tmp_path, octets, ret):
    """The size is a fixed amount for each recipient, plus a few copies of the message, for any number of recipients."""

    async def scenario():
        names = [f"r{number}" for number in range(40)]
        async with a_system(tmp_path, Scripted(NEVER), names=("me", *names), of_routes=TO_PEER) as system:
            await system.send(
                *names, sender=ME, octets=octets, dsn=requesting(40, "SUCCESS", "FAILURE", "DELAY", ret=ret)
            )
            await system.rest()
            written = sum(map(len, await notices_in(system)))
            assert written < 2 * returned_content.WHOLE_LIMIT
            assert written < 3 * len(octets) + 4_000 * len(names)

    run(scenario())


HEADER_OF_6_KB = b"Subject: x\r\n" + b"".join(b"X-%03d: %s\r\n" % (number, b"y" * 90) for number in range(55))


@pytest.mark.slow
@pytest.mark.parametrize("ret", ["FULL", "HDRS"])
@pytest.mark.parametrize(
    "octets", [HEADER_OF_6_KB + b"\r\nhi\r\n", b"Subject: x\r\n\r\n" + b"y\r\n" * 2_000], ids=["header", "body"]
)
def test_recipients_that_fail_one_after_another_do_not_each_return_the_message_again(tmp_path, octets, ret):
    """The message has 6 KB and 40 recipients. Each recipient causes a separate notice of failure, and a notice of
    delay.
    """

    def answer(parcel, _):
        return NEVER if int(parcel.recipient[1:3]) < answer.gone else NOT_NOW

    async def scenario():
        answer.gone = 0
        names = [f"r{number:02}" for number in range(40)]
        warning = timedelta(minutes=30)
        async with a_system(
            tmp_path, Scripted(answer=answer), names=("me", *names), of_routes=TO_PEER, delay_warning=warning
        ) as system:
            await system.send(*names, sender=ME, octets=octets, dsn=requesting(40, "FAILURE", "DELAY", ret=ret))
            for answer.gone in range(1, 41):
                await system.advance(hours=5)
            await system.rest()
            notices_ = await notices_in(system)
            parts = [email.message_from_bytes(notice).get_payload(2) for notice in notices_]
            returned_bytes = {"failed": 0, "delayed": 0}
            for notice, part in zip(notices_, parts, strict=True):
                returned_bytes[recipient_fields(notice)[0]["Action"]] += len(part.as_bytes()) - 200
            goes_whole = ret == "FULL"
            limit = returned_content.WHOLE_LIMIT if goes_whole else returned_content.HEADERS_LIMIT
            assert returned_bytes["failed"] < limit
            assert returned_bytes["delayed"] < returned_content.HEADERS_LIMIT
            own = sum(map(len, notices_)) - sum(returned_bytes.values())
            assert own < 3_000 * 2 * len(names)
            assert len([1 for notice in notices_ if recipient_fields(notice)[0]["Action"] == "failed"]) > 10

    run(scenario())


def test_a_long_path_is_shortened_in_the_traces_and_notices_of_mail_loops(tmp_path):
    """This applies to the trace, and to the notice to the owner. The sender is outside, so there are no other
    notices.
    """
    octets = (b"Received: by " + b"x" * 250 + b"\r\n") * 99 + HELLO

    async def scenario():
        names = [f"r{number}" for number in range(40)]
        async with a_system(tmp_path, Scripted(LOOP), names=names) as system:
            message_id = await system.send(*names, octets=octets)
            await system.rest()
            await system.rest()  # the second call may write the notice that the last attempt made due
            paths = [one.detail.path for one in await system.trace(message_id) if one.kind == "dead"]
            written = [len(notice) for name in names for notice in await notices_in(system, name)]
            assert len(paths) == len(written) == len(names)
            assert max(map(len, paths)) < 1_200
            assert max(written) < 3_000
            assert {path.partition(" → ")[0] for path in paths} == {"(earlier servers)"}

    run(scenario())


def test_a_small_failed_message_is_returned_whole_if_the_sender_asked_for_it_but_a_large_one_is_not(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(NEVER), names=("me", "a"), of_routes=TO_PEER) as system:
            for octets in (HELLO, HELLO + b"y\r\n" * returned_content.WHOLE_LIMIT):
                await system.send("a", sender=ME, octets=octets, dsn=requesting(1, ret="FULL"))
                await system.rest()
            small, large = await notices_in(system)
            assert b"Content-Type: message/rfc822\r\n" in small
            assert b"\r\nHello.\r\n" in small
            assert b"Content-Type: text/rfc822-headers\r\n" in large
            assert b"Hello." not in large

    run(scenario())


def test_a_notice_with_a_very_long_header_states_that_the_header_is_truncated(tmp_path):
    octets = (b"Received: from a by " + b"b" * 900 + b"\r\n") * 40 + b"From: me@example.com\r\n" + HELLO

    async def scenario():
        async with a_system(tmp_path, Scripted(NEVER), names=("me", "a"), of_routes=TO_PEER) as system:
            await system.send("a", sender=ME, octets=octets)
            await system.rest()
            (notice,) = await notices_in(system)
            assert b"\r\n\r\n" + returned_content.CUT in notice

    run(scenario())


# Outside senders.


def test_an_outside_sender_gets_notices_of_failure_without_the_body_and_no_notices_of_success(tmp_path):
    def answer(parcel, route):
        if route.to == SMARTHOST.to:
            return NOT_NOW  # so that the bytes of the notice stay
        return NEVER if parcel.recipient == "a@example.com" else TAKEN

    async def scenario():
        names = ("a", "b")
        async with a_system(tmp_path, Scripted(answer=answer), names=names, bounces_via=SMARTHOST) as system:
            dsn = requesting(2, "SUCCESS", "FAILURE", ret="FULL")
            message_id = await system.send("a", "b", dsn=dsn, octets=HELLO)
            await system.rest()
            to_peer = [parcel for parcel in system.transport.parcels if parcel.recipient.endswith("@example.com")]
            assert [(parcel.ret, parcel.notify) for parcel in to_peer] == [("HDRS", ("FAILURE",))] * 2
            (notice,) = [parcel for parcel in system.transport.parcels if parcel.recipient == "ann@client.example"]
            octets = await system.store.long_read(
                partial(_octets, message_id=notice.message.id), what="the data of a test"
            )
            assert [group["Action"] for group in recipient_fields(octets)] == ["failed"]
            assert b"text/rfc822-headers" in octets
            assert b"Hello." not in octets
            (line,) = [event for event in await system.trace(message_id) if event.kind == "not notified"]
            assert line.detail.address == "b@example.com"
            assert "confirm_outside" in line.detail.because

    run(scenario())


def test_an_outside_sender_gets_notices_of_success_if_the_settings_allow_them(tmp_path):
    async def scenario():
        transport = Scripted(answer=lambda _, route: NOT_NOW if route.to == SMARTHOST.to else TAKEN)
        async with a_system(tmp_path, transport, bounces_via=SMARTHOST, confirm_outside=True) as system:
            await system.send("support", dsn=requesting(1, "SUCCESS"))
            await system.rest()
            direct, notice = system.transport.parcels
            assert direct.notify == ("SUCCESS",)
            octets = await system.store.long_read(
                partial(_octets, message_id=notice.message.id), what="the data of a test"
            )
            assert [group["Action"] for group in recipient_fields(octets)] == ["relayed"]

    run(scenario())


def test_notices_to_an_outside_sender_are_separate_for_each_account(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(NEVER), names=("a", "b"), bounces_via=SMARTHOST) as system:
            other = "1" * 12
            await system.store.write(
                lambda tx: tx.connection.execute("UPDATE email_addresses SET account = ? WHERE id = 'b'", (other,))
            )
            await system.send("a", "b")
            await system.rest()
            notices_ = [parcel for parcel in system.transport.parcels if parcel.recipient == "ann@client.example"]
            found = {}
            for parcel in notices_:
                octets = await system.store.long_read(
                    partial(_octets, message_id=parcel.message.id), what="the data of a test"
                )
                found[parcel.delivery.account] = [group["Final-Recipient"] for group in recipient_fields(octets)]
            assert found == {TENANT.account: ["rfc822; a@example.com"], other: ["rfc822; b@example.com"]}

    run(scenario())


# Notices do not reveal the primary of an alias.


IDS = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
DATES = re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d\r?\n? ?\+0000")


def comparable(octets, candidate):
    """Return a notice without the parts that always differ: ids, dates, and the candidate's name."""
    return DATES.sub(b"DATE", IDS.sub(b"ID", octets)).replace(candidate.encode(), b"CANDIDATE")


def greylisted(result):
    """A peer that first refuses each recipient temporarily, and later permanently."""
    seen = set()

    def answer(parcel, _):
        is_new = parcel.delivery.id not in seen
        seen.add(parcel.delivery.id)
        return NOT_NOW if is_new else result

    return answer


PEERS = {
    "refuses": lambda: lambda *_: NEVER,
    "accepts": lambda: lambda *_: TAKEN,
    "refuses later": lambda: greylisted(NEVER),
    "refuses for five days": lambda: lambda *_: NOT_NOW,
    "reports a loop": lambda: lambda *_: LOOP,
}


@pytest.mark.parametrize("alias_is_routed", [True, False])
@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_a_sender_gets_the_same_notices_whether_or_not_the_other_recipient_is_the_primary(
    tmp_path, peer, alias_is_routed
):
    """`carol` is the primary of `press`, and `david` is not. Mail to `press` and one of the two must not reveal
    this.
    """

    async def notices_for(candidate):
        routes = (*([] if alias_is_routed else [Route(match="press@example.com", to="inbox")]), *TO_PEER)
        names = ("me", "press", "carol", "david")
        transport = Scripted(answer=peer())
        async with a_system(
            tmp_path, transport, names=names, of_routes=routes, delay_warning=timedelta(hours=4)
        ) as system:
            await link(system, "press", "carol")
            for recipients in (("press", candidate), (candidate, "press")):
                dsn = requesting(2, "SUCCESS", "FAILURE", "DELAY", ret="FULL", orcpt="rfc822;x@example.net")
                await system.send(*recipients, sender=ME, octets=HELLO, dsn=dsn)
                await system.advance(days=6)
            return [comparable(octets, candidate) for octets in await notices_in(system)]

    async def scenario():
        return [await notices_for(candidate) for candidate in ("carol", "david")]

    of_primary, of_another = run(scenario())
    assert of_primary
    assert of_primary == of_another


# Notices after crashes and failures.


def test_a_notice_that_is_due_when_the_server_crashes_is_written_by_the_next_server(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(NEVER), names=("me", "a"), of_routes=TO_PEER) as system:
            real = system.store.write
            died = asyncio.Event()

            async def dies_with_the_notice(use_case):
                if (
                    getattr(use_case, "func", None) is notify.write
                    or getattr(getattr(use_case, "func", None), "func", None) is notify.write
                ):
                    died.set()
                    await asyncio.Event().wait()
                return await real(use_case)

            system.store.write = dies_with_the_notice
            message_id = await system.send("a", sender=ME)
            await died.wait()
            system.store.write = real
            await system.worker.stop()
            assert (await system.delivery(message_id, "a")).status is Status.DEAD
            assert await notices_in(system) == []

            next_one = Worker(system.deps)
            await next_one.start()
            await next_one.rest()
            await next_one.stop()
            assert len(await notices_in(system)) == 1
            assert (await system.events(message_id))[-1] == "notified"

    run(scenario())


def test_the_trace_reports_a_notice_that_cannot_be_made_and_other_notices_are_written(tmp_path, monkeypatch):
    real = notices.notice

    def failing_for_a(entries, *args, **kwargs):
        if entries[0].recipient.startswith("a"):
            raise RuntimeError("a bug")
        return real(entries, *args, **kwargs)

    monkeypatch.setattr(notices, "notice", failing_for_a)

    async def scenario():
        async with a_system(tmp_path, Scripted(NEVER), names=("me", "a", "b"), of_routes=TO_PEER) as system:
            first = await system.send("a", sender=ME)
            await system.send("b", sender=ME)
            await system.rest()
            assert len(await notices_in(system)) == 1
            last = (await system.trace(first))[-1]
            assert (last.kind, last.detail.address) == ("not notified", "a@example.com")
            assert "an internal error" in last.detail.because
            failed = [event for event in system.emitted if isinstance(event, events.Failed)]
            assert [str(event.cause) for event in failed] == ["a bug"]
            system.emitted.clear()

    run(scenario())


def test_an_unreadable_due_notice_does_not_prevent_other_notices(tmp_path):
    async def scenario():
        async with a_system(tmp_path, names=("me", "a"), of_routes=(), start=False) as system:
            unreadable, good = [await system.send("a", sender=ME, dsn=requesting(1, "SUCCESS")) for _ in range(2)]
            damage = "UPDATE notices_owed SET fate = 'no JSON' WHERE message_id = ?"
            await system.store.write(lambda tx: tx._ask(damage, (unreadable,)))
            await system.worker.start()
            await system.rest()
            assert len(await notices_in(system)) == 1
            assert (await system.events(good))[-1] == "notified"
            assert await system.store.read(partial(notify.next_owed, now=system.clock())) is None
            failed = [event for event in system.emitted if isinstance(event, events.Failed)]
            assert [event.id for event in failed] == [unreadable] * 2
            system.emitted.clear()

    run(scenario())


def test_the_bytes_of_a_forwarded_message_are_kept_until_its_notice_is_written(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(TAKEN), names=("me", "a"), of_routes=TO_PEER) as system:
            message_id = await system.send("a", sender=ME, octets=HELLO, dsn=requesting(1, "SUCCESS"))
            await system.rest()
            (octets,) = await notices_in(system)
            assert b"Subject: hello\r\n" in octets
            assert (
                await system.store.long_read(partial(_octets, message_id=message_id), what="the data of a test") == b""
            )

    run(scenario())


def test_no_notice_is_written_about_a_message_that_retention_has_deleted(tmp_path):
    async def scenario():
        async with a_system(tmp_path, names=("me", "a"), of_routes=(), start=False) as system:
            message_id = await system.send("a", sender=ME, dsn=requesting(1, "SUCCESS"))

            def delete_message(tx):
                tx.remove_delivered(Inbox(TENANT.account, "a@example.com"), [message_id])
                tx.end_messages([message_id], now=system.clock())

            await system.store.write(delete_message)
            await system.worker.start()
            await system.rest()
            assert await notices_in(system) == []
            assert await system.store.read(partial(notify.next_owed, now=system.clock())) is None

    run(scenario())


def test_by_default_a_sender_who_is_not_authenticated_gets_no_notice(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(NEVER), names=("me", "a"), of_routes=TO_PEER) as system:
            message_id = await system.send("a", sender=ME, is_trusted=False)
            await system.rest()
            assert await notices_in(system) == []
            assert "nothing proves" in (await system.trace(message_id))[-1].detail.because

    run(scenario())
