"""The worker: fair between destinations, patient with those that fail, and careful with what it has in hand."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from tests.kit.patience import PATIENCE
from tests.kit.servers.worker_alone import GONE, NEVER, NOT_NOW, PEER, TAKEN, Scripted, a_house
from waypost.app.queue import attempt, redrive
from waypost.app.steps import Step
from waypost.delivery.queue.leases import LEASE
from waypost.delivery.queue.worker import Worker
from waypost.domain.directory import addresses
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.routes import Route

SUPPORT = "support@example.com"


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, 2 * PATIENCE))


def test_what_a_route_takes_and_does_not_keep_is_not_in_the_inbox_and_its_octets_go(tmp_path):
    async def scenario():
        async with a_house(tmp_path) as house:
            message_id = await house.send("support")
            await house.rest()
            assert await house.events(message_id) == ["accepted", "queued", "delivered"]
            assert await house.inbox("support") == []
            assert (
                await house.store.long_read(
                    lambda tx: tx.octets(message_id, start=0, limit=100), what="the data of a test"
                )
                == b""
            )
            (parcel,) = house.transport.parcels
            assert parcel.return_path == "ann@client.example"
            assert parcel.recipient == SUPPORT
            assert b"Return-Path" not in parcel.header
            assert b"X-Waypost-Delivery: " + parcel.delivery.id.encode() in parcel.header

    run(scenario())


def test_what_a_route_keeps_is_in_the_inbox_at_once_whatever_becomes_of_the_rest(tmp_path):
    keeping = (Route(match="*", to=PEER, keep=True),)

    async def scenario():
        async with a_house(tmp_path, Scripted(NEVER), of_routes=keeping) as house:
            message_id = await house.send("support")
            assert [message.id for message in await house.inbox("support")] == [message_id]
            await house.rest()
            assert (await house.delivery(message_id, "support")).status is Status.DEAD
            assert [message.id for message in await house.inbox("support")] == [message_id]

    run(scenario())


def test_one_recipient_that_fails_costs_the_other_nothing(tmp_path):
    def answer(parcel, route):
        return NEVER if parcel.recipient.startswith("support") else TAKEN

    async def scenario():
        async with a_house(tmp_path, Scripted(answer=answer), names=("support", "sales")) as house:
            message_id = await house.send("support", "sales")
            await house.rest()
            found = [(await house.delivery(message_id, name)).status for name in ("support", "sales")]
            assert found == [Status.DEAD, Status.DELIVERED]
            assert len(house.transport.parcels) == 2

    run(scenario())


def test_a_destination_that_is_gone_is_asked_once_a_minute_however_much_waits(tmp_path):
    async def scenario():
        async with a_house(tmp_path, Scripted(GONE)) as house:
            for _ in range(30):
                await house.send("support")
            await house.advance(minutes=10)
            assert len(house.transport.parcels) <= 12

    run(scenario())


def test_a_destination_that_comes_back_gets_all_that_waits(tmp_path):
    async def scenario():
        async with a_house(tmp_path, Scripted(GONE, GONE, TAKEN)) as house:
            sent = [await house.send("support") for _ in range(30)]
            await house.advance(minutes=10)
            assert {(await house.delivery(message_id, "support")).status for message_id in sent} == {Status.DELIVERED}

    run(scenario())


def test_a_slow_destination_does_not_hold_up_another(tmp_path):
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

        async with a_house(
            tmp_path, Scripted(answer=answer), names=("support", "sales"), of_routes=(slow, quick)
        ) as house:
            for _ in range(100):
                await house.send("support")
            message_id = await house.send("sales")
            while (await house.delivery(message_id, "sales")).status is not Status.DELIVERED:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert house.transport.running >= 1
            ended.set()

    run(scenario())


def test_many_destinations_that_never_answer_do_not_hold_up_one_that_worked_some_time_ago(tmp_path):
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
        async with a_house(tmp_path, Scripted(answer=answer), names=names, of_routes=of_routes) as house:
            await house.send("sales")
            await house.rest()
            for name in silent:
                await house.send(name)
            while house.transport.running < 50:  # noqa: ASYNC110
                await asyncio.sleep(0)
            message_id = await house.send("sales")
            house.worker.wake()
            while (await house.delivery(message_id, "sales")).status is not Status.DELIVERED:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert house.transport.running == 50
            ended.set()

    run(scenario())


def test_no_destination_gets_more_at_once_than_its_route_allows(tmp_path):
    async def scenario():
        enough = asyncio.Event()

        async def with_others():
            if transport.running == 3:
                enough.set()
            await enough.wait()
            return TAKEN

        few = (Route(match="*", to=PEER, connections=3),)
        transport = Scripted(TAKEN, answer=lambda *_: with_others() if len(transport.parcels) > 3 else TAKEN)
        async with a_house(tmp_path, transport, of_routes=few) as house:
            await asyncio.gather(*(house.send("support") for _ in range(50)))
            await house.rest()
            assert len(transport.parcels) == 50
            assert transport.most == 3

    run(scenario())


def test_what_is_in_hand_when_the_server_stops_waits_for_the_next_one_and_no_attempt_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("waypost.delivery.queue.worker.STOP_SECONDS", 0.01)

    async def scenario():
        begun = asyncio.Event()

        async def hang():
            begun.set()
            await asyncio.Event().wait()

        async with a_house(tmp_path, Scripted(answer=lambda *_: hang())) as house:
            message_id = await house.send("support")
            await begun.wait()
            await house.worker.stop()
            assert house.transport.closed
            next_one = Worker(replace(house.works, transports=dict.fromkeys(house.works.transports, Scripted(TAKEN))))
            await next_one.start()
            await next_one.rest()
            await next_one.stop()
            assert (await house.trace(message_id))[-1].detail["attempt"] == 1

    run(scenario())


def test_of_two_who_have_one_delivery_because_a_lease_ran_out_the_later_one_counts(tmp_path):
    async def scenario():
        async with a_house(tmp_path, start=False) as house:
            message_id = await house.send("support")

            async def claim(name):
                return await house.store.write(
                    lambda tx: attempt.claim(
                        tx,
                        house.deployment,
                        destination=PEER,
                        claim=name,
                        now=house.clock(),
                        lease=LEASE,
                        limit=9,
                    )
                )

            async def record(ready, result):
                await house.store.write(
                    lambda tx: attempt.record(
                        tx,
                        house.deployment,
                        claimed=ready.claimed,
                        result=result,
                        now=house.clock(),
                    )
                )

            (first,) = (await claim("first")).ready
            assert (await claim("second")).ready == []
            house.clock._ahead += LEASE + timedelta(seconds=1)
            (second,) = (await claim("second")).ready
            await record(first, NEVER)
            assert (await house.delivery(message_id, "support")).status is Status.QUEUED
            await record(second, TAKEN)
            assert (await house.delivery(message_id, "support")).status is Status.DELIVERED
            assert await house.events(message_id) == ["accepted", "queued", "delivered"]

    run(scenario())


def test_mail_that_waits_follows_a_route_that_was_mended(tmp_path):
    async def scenario():
        wrong = Route(match="*", to="smtp://wrong.example:25")

        def answer(parcel, route):
            return GONE if route.to == wrong.to else TAKEN

        async with a_house(tmp_path, Scripted(answer=answer), of_routes=(wrong,)) as house:
            message_id = await house.send("support")
            await house.rest()
            await house.worker.stop()
            right = (Route(match="*", to=PEER),)
            works = replace(house.works, deployment=replace(house.deployment, routes=right, routes_revision="2"))
            next_one = Worker(works)
            await next_one.start()
            await house.clock.advance(timedelta(minutes=2), next_one.rest)
            await next_one.stop()
            assert await house.events(message_id) == ["accepted", "queued", "deferred", "moved", "delivered"]

    run(scenario())


def test_mail_that_waits_for_a_route_that_is_no_more_comes_into_the_inbox(tmp_path):
    async def scenario():
        async with a_house(tmp_path, Scripted(NOT_NOW)) as house:
            message_id = await house.send("support")
            await house.rest()
            await house.worker.stop()
            next_one = Worker(replace(house.works, deployment=replace(house.deployment, routes=(), routes_revision="")))
            await next_one.start()
            await house.clock.advance(timedelta(minutes=2), next_one.rest)
            await next_one.stop()
            assert [message.id for message in await house.inbox("support")] == [message_id]

    run(scenario())


def test_a_dead_letter_is_redriven_whole(tmp_path):
    async def scenario():
        async with a_house(tmp_path, Scripted(NEVER, TAKEN)) as house:
            message_id = await house.send("support")
            await house.rest()
            (found,) = await house.store.long_read(
                lambda tx: redrive.dead_letters(tx, "000000000000"), what="the data of a test"
            )
            assert found[0].message_id == message_id
            step = await house.store.write(
                lambda tx: redrive.redrive(tx, "000000000000", ids=[found[0].id], now=house.clock())
            )
            assert step == Step(1, None)
            await house.rest()
            assert (await house.events(message_id))[-3:] == ["not notified", "redriven", "delivered"]
            assert [len(parcel.header) for parcel in house.transport.parcels].count(
                len(house.transport.parcels[0].header)
            ) == 2

    run(scenario())


def test_what_an_alias_kept_is_forwarded_again_and_nothing_is_doubled_in_an_inbox(tmp_path):
    async def scenario():
        async with a_house(tmp_path, names=("help", "support"), of_routes=()) as house:
            before = await house.send("help")
            now = house.clock()
            await house.store.write(lambda tx: _link(tx, "support", "help", now))
            after = await house.send("help")

            async def replay():
                return await house.store.write(
                    lambda tx: redrive.replay(
                        tx,
                        house.deployment,
                        "000000000000",
                        addresses.parse("help@example.com"),
                        since=now - timedelta(hours=1),
                        now=house.clock(),
                    )
                )

            assert (await replay()).done == 1
            assert {message.id for message in await house.inbox("support")} == {before, after}
            assert (await house.delivery(before, "support")).reason is Reason.FORWARDED
            assert (await replay()).done == 0

    run(scenario())


def _link(tx, primary, alias, now):
    from waypost.domain.directory.aliases import AliasLink

    tx.add_link(AliasLink(primary, alias, now))
