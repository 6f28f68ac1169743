"""The worker: a fair share for each destination, retries for failing destinations, and safe handling of claims."""

import asyncio
from datetime import timedelta

from msgspec.structs import replace

from tests.kit.patience import PATIENCE
from tests.kit.servers.worker_alone import GONE, NEVER, NOT_NOW, PEER, TAKEN, Scripted, a_system
from waypost.app.queue import attempt, redrive
from waypost.app.steps import Step
from waypost.delivery.queue import worker as worker_module
from waypost.delivery.queue.leases import LEASE
from waypost.delivery.queue.worker import Worker
from waypost.domain.directory import addresses
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.routes import Route

SUPPORT = "support@example.com"


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, 2 * PATIENCE))


def test_mail_that_a_route_delivers_and_does_not_keep_is_not_in_the_inbox_and_its_bytes_are_deleted(tmp_path):
    async def scenario():
        async with a_system(tmp_path) as system:
            message_id = await system.send("support")
            await system.rest()
            assert await system.events(message_id) == ["accepted", "queued", "delivered"]
            assert await system.inbox("support") == []
            assert (
                await system.store.long_read(
                    lambda tx: tx.octets(message_id, start=0, limit=100), what="the data of a test"
                )
                == b""
            )
            (parcel,) = system.transport.parcels
            assert parcel.return_path == "ann@client.example"
            assert parcel.recipient == SUPPORT
            assert b"Return-Path" not in parcel.header
            assert b"X-Waypost-Delivery: " + parcel.delivery.id.encode() in parcel.header

    run(scenario())


def test_mail_that_a_route_keeps_is_in_the_inbox_immediately_even_if_its_delivery_fails_later(tmp_path):
    keeping = (Route(match="*", to=PEER, keep=True),)

    async def scenario():
        async with a_system(tmp_path, Scripted(NEVER), of_routes=keeping) as system:
            message_id = await system.send("support")
            assert [message.id for message in await system.inbox("support")] == [message_id]
            await system.rest()
            assert (await system.delivery(message_id, "support")).status is Status.DEAD
            assert [message.id for message in await system.inbox("support")] == [message_id]

    run(scenario())


def test_a_failure_for_one_recipient_does_not_affect_another_recipient(tmp_path):
    def answer(parcel, route):
        return NEVER if parcel.recipient.startswith("support") else TAKEN

    async def scenario():
        async with a_system(tmp_path, Scripted(answer=answer), names=("support", "sales")) as system:
            message_id = await system.send("support", "sales")
            await system.rest()
            found = [(await system.delivery(message_id, name)).status for name in ("support", "sales")]
            assert found == [Status.DEAD, Status.DELIVERED]
            assert len(system.transport.parcels) == 2

    run(scenario())


def test_an_unreachable_destination_is_tried_once_a_minute_for_any_amount_of_waiting_mail(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(GONE)) as system:
            for _ in range(30):
                await system.send("support")
            await system.advance(minutes=10)
            assert len(system.transport.parcels) <= 12

    run(scenario())


def test_a_destination_that_recovers_gets_all_waiting_mail(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(GONE, GONE, TAKEN)) as system:
            sent = [await system.send("support") for _ in range(30)]
            await system.advance(minutes=10)
            assert {(await system.delivery(message_id, "support")).status for message_id in sent} == {Status.DELIVERED}

    run(scenario())


def test_a_worker_that_forgets_everything_attempts_mail_for_an_unreachable_destination_at_once(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(GONE, TAKEN)) as system:
            await system.send("support")
            await system.rest()
            message_id = await system.send("support")
            await system.rest()
            assert len(system.transport.parcels) == 1
            system.worker.forget()
            await system.rest()
            assert (await system.delivery(message_id, "support")).status is Status.DELIVERED

    run(scenario())


def test_a_slow_destination_does_not_delay_another_destination(tmp_path):
    slow = Route(match="support@example.com", to="smtp://slow.example:25", connections=50)
    quick = Route(match="*", to=PEER)
    never = asyncio.Event

    async def scenario():
        ended = never()

        async def hang():
            await ended.wait()
            return TAKEN

        def answer(parcel, route):
            return hang() if route.to == slow.to else TAKEN

        async with a_system(
            tmp_path, Scripted(answer=answer), names=("support", "sales"), of_routes=(slow, quick)
        ) as system:
            for _ in range(100):
                await system.send("support")
            message_id = await system.send("sales")
            while (await system.delivery(message_id, "sales")).status is not Status.DELIVERED:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert system.transport.running >= 1
            ended.set()

    run(scenario())


def test_many_destinations_that_never_answer_do_not_delay_a_destination_that_worked_before(tmp_path):
    silent = [f"silent{number}" for number in range(60)]
    tarpits = [Route(match=f"{name}@example.com", to=f"smtp://{name}.example:25") for name in silent]

    async def scenario():
        ended = asyncio.Event()

        async def hang():
            await ended.wait()
            return TAKEN

        def answer(parcel, route):
            return TAKEN if route.to == PEER else hang()

        of_routes = (*tarpits, Route(match="*", to=PEER))
        names = ("sales", *silent)
        async with a_system(tmp_path, Scripted(answer=answer), names=names, of_routes=of_routes) as system:
            await system.send("sales")
            await system.rest()
            for name in silent:
                await system.send(name)
            while system.transport.running < 50:  # noqa: ASYNC110
                await asyncio.sleep(0)
            message_id = await system.send("sales")
            system.worker.wake()
            while (await system.delivery(message_id, "sales")).status is not Status.DELIVERED:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert system.transport.running == 50
            ended.set()

    run(scenario())


def test_no_destination_gets_more_simultaneous_attempts_than_its_route_allows(tmp_path):
    async def scenario():
        enough = asyncio.Event()

        async def with_others():
            if transport.running == 3:
                enough.set()
            await enough.wait()
            return TAKEN

        few = (Route(match="*", to=PEER, connections=3),)
        transport = Scripted(TAKEN, answer=lambda *_: with_others() if len(transport.parcels) > 3 else TAKEN)
        async with a_system(tmp_path, transport, of_routes=few) as system:
            await asyncio.gather(*(system.send("support") for _ in range(50)))
            await system.rest()
            assert len(transport.parcels) == 50
            assert transport.most == 3

    run(scenario())


def test_the_queue_is_not_read_at_every_wake_up_while_claimed_deliveries_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_module, "PAUSE_BETWEEN_PASSES", PATIENCE)
    one_by_one = (Route(match="*", to=PEER, connections=1),)

    async def scenario():
        ended = asyncio.Event()

        async def hang():
            await ended.wait()
            return TAKEN

        transport = Scripted(answer=lambda parcel, route: hang() if len(transport.parcels) > 1 else TAKEN)
        async with a_system(tmp_path, transport, of_routes=one_by_one) as system:
            await system.send("support")
            await system.rest()  # from now on, deliveries are claimed ahead
            for _ in range(3):
                await system.send("support")
            while not transport.running:  # noqa: ASYNC110
                await asyncio.sleep(0)
            before = system.worker._passes
            for _ in range(1_000):
                system.worker.wake()
                await asyncio.sleep(0)
            assert system.worker._passes <= before + 2
            ended.set()

    run(scenario())


def test_an_attempt_that_a_stop_of_the_server_interrupts_is_not_counted_and_is_repeated_later(tmp_path, monkeypatch):
    monkeypatch.setattr("waypost.delivery.queue.worker.STOP_SECONDS", 0.01)

    async def scenario():
        begun = asyncio.Event()

        async def hang():
            begun.set()
            await asyncio.Event().wait()

        async with a_system(tmp_path, Scripted(answer=lambda *_: hang())) as system:
            message_id = await system.send("support")
            await begun.wait()
            await system.worker.stop()
            assert system.transport.closed
            next_one = Worker(replace(system.deps, transports=dict.fromkeys(system.deps.transports, Scripted(TAKEN))))
            await next_one.start()
            await next_one.rest()
            await next_one.stop()
            assert (await system.trace(message_id))[-1].detail.attempt.number == 1

    run(scenario())


def test_if_a_lease_expired_only_the_result_of_the_later_claim_is_recorded(tmp_path):
    async def scenario():
        async with a_system(tmp_path, start=False) as system:
            message_id = await system.send("support")

            async def claim(name):
                return await system.store.write(
                    lambda tx: attempt.claim(
                        tx,
                        system.deployment,
                        destination=PEER,
                        claim=name,
                        now=system.clock(),
                        lease=LEASE,
                        limit=9,
                    )
                )

            async def record(ready, result):
                await system.store.write(
                    lambda tx: attempt.record(
                        tx, outcome=attempt.Outcome.of(ready.claimed, result, system.deployment, system.clock())
                    )
                )

            (first,) = (await claim("first")).ready
            assert (await claim("second")).ready == []
            system.clock._ahead += LEASE + timedelta(seconds=1)
            (second,) = (await claim("second")).ready
            await record(first, NEVER)
            assert (await system.delivery(message_id, "support")).status is Status.QUEUED
            await record(second, TAKEN)
            assert (await system.delivery(message_id, "support")).status is Status.DELIVERED
            assert await system.events(message_id) == ["accepted", "queued", "delivered"]

    run(scenario())


def test_waiting_mail_follows_a_corrected_route(tmp_path):
    async def scenario():
        wrong = Route(match="*", to="smtp://wrong.example:25")

        def answer(parcel, route):
            return GONE if route.to == wrong.to else TAKEN

        async with a_system(tmp_path, Scripted(answer=answer), of_routes=(wrong,)) as system:
            message_id = await system.send("support")
            await system.rest()
            await system.worker.stop()
            right = (Route(match="*", to=PEER),)
            deps = replace(system.deps, deployment=replace(system.deployment, routes=right, routes_revision="2"))
            next_one = Worker(deps)
            await next_one.start()
            await system.clock.advance(timedelta(minutes=2), next_one.rest)
            await next_one.stop()
            assert await system.events(message_id) == ["accepted", "queued", "deferred", "moved", "delivered"]

    run(scenario())


def test_mail_that_waits_for_a_removed_route_is_delivered_to_the_inbox(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(NOT_NOW)) as system:
            message_id = await system.send("support")
            await system.rest()
            await system.worker.stop()
            next_one = Worker(
                replace(system.deps, deployment=replace(system.deployment, routes=(), routes_revision=""))
            )
            await next_one.start()
            await system.clock.advance(timedelta(minutes=2), next_one.rest)
            await next_one.stop()
            assert [message.id for message in await system.inbox("support")] == [message_id]

    run(scenario())


def test_a_redriven_dead_letter_is_delivered_completely(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(NEVER, TAKEN)) as system:
            message_id = await system.send("support")
            await system.rest()
            (found,) = await system.store.long_read(
                lambda tx: redrive.dead_letters(tx, "000000000000"), what="the data of a test"
            )
            assert found.message.id == message_id
            step = await system.store.write(
                lambda tx: redrive.redrive(tx, "000000000000", ids=[found.delivery.id], now=system.clock())
            )
            assert step == Step(1, None)
            await system.rest()
            assert (await system.events(message_id))[-3:] == ["not notified", "redriven", "delivered"]
            assert [len(parcel.header) for parcel in system.transport.parcels].count(
                len(system.transport.parcels[0].header)
            ) == 2

    run(scenario())


def test_a_replay_forwards_the_mail_of_an_alias_without_duplicates_in_the_inbox(tmp_path):
    async def scenario():
        async with a_system(tmp_path, names=("help", "support"), of_routes=()) as system:
            before = await system.send("help")
            now = system.clock()
            await system.store.write(lambda tx: _link(tx, "support", "help", now))
            after = await system.send("help")

            async def replay():
                return await system.store.write(
                    lambda tx: redrive.replay(
                        tx,
                        system.deployment,
                        "000000000000",
                        addresses.parse("help@example.com"),
                        since=now - timedelta(hours=1),
                        now=system.clock(),
                    )
                )

            assert (await replay()).done == 1
            assert {message.id for message in await system.inbox("support")} == {before, after}
            assert (await system.delivery(before, "support")).reason is Reason.FORWARDED
            assert (await replay()).done == 0

    run(scenario())


def _link(tx, primary, alias, now):
    from waypost.domain.directory.aliases import AliasLink

    tx.add_link(AliasLink(primary, alias, now))
