"""The retries of a message for an unreachable destination over five days of a virtual clock."""

import asyncio
import itertools
from datetime import timedelta

from tests.kit.patience import PATIENCE
from tests.kit.servers.worker_alone import GONE, NOT_NOW, PEER, TAKEN, Scripted, a_system
from waypost.domain.mail.delivery import Policy, Status
from waypost.domain.mail.routes import Route


def test_five_days_of_retries_pass_without_waiting(tmp_path):
    policy = Policy()

    async def live():
        via = Route(match="*", to="smtp://smarthost.example:25")
        first = Scripted(answer=lambda parcel, route: GONE if route.to == PEER else TAKEN)
        async with a_system(tmp_path, first, bounces_via=via, delay_warning=timedelta(hours=4)) as system:
            accepted_at = system.clock()
            message_id = await system.send("support")
            await system.advance(days=6)
            trace = await system.trace(message_id)
            notices = [parcel for parcel in first.parcels if parcel.recipient == "ann@client.example"]
            return accepted_at, trace, await system.delivery(message_id, "support"), notices

    accepted_at, trace, delivery, notices = asyncio.run(asyncio.wait_for(live(), PATIENCE))
    deferred = [event for event in trace if event.kind == "deferred"]
    attempts = [accepted_at, *(event.at for event in deferred)][1:]
    pauses = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    schedule = itertools.chain(policy.retry_schedule, itertools.repeat(policy.retry_schedule[-1]))
    for pause, wanted in zip(pauses, schedule, strict=False):
        assert wanted <= pause <= wanted * (1 + policy.jitter) + timedelta(seconds=1)
    assert [event.detail.attempt.number for event in deferred] == list(range(1, len(deferred) + 1))
    kinds = [event.kind for event in trace if event.kind != "deferred"]
    assert kinds == ["accepted", "queued", "delayed", "notified", "dead", "notified"]
    dead = next(event for event in trace if event.kind == "dead")
    assert timedelta(days=5) <= dead.at - accepted_at < timedelta(days=5, seconds=1)
    assert dead.detail.because.startswith("Not delivered in 5d. Last result: smtp://peer.example:25 at connect")
    assert delivery.status is Status.DEAD
    assert [notice.return_path for notice in notices] == ["", ""]


def test_a_destination_that_recovers_on_the_third_day_gets_the_mail(tmp_path):
    async def live():
        async with a_system(tmp_path, Scripted(*[NOT_NOW] * 15, TAKEN)) as system:
            message_id = await system.send("support")
            await system.advance(days=3)
            return await system.trace(message_id), await system.delivery(message_id, "support")

    trace, delivery = asyncio.run(live())
    assert trace[-1].kind == "delivered"
    assert trace[-1].detail.attempt.number == 16
    assert delivery.status is Status.DELIVERED
