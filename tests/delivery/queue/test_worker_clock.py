"""The clock is set back while mail waits: the mail is still retried soon, and expires on time."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.kit.patience import PATIENCE, until
from tests.kit.servers.worker_alone import GONE, NOT_NOW, TAKEN, Scripted, a_system, hanging
from waypost.delivery.queue.leases import CLOCKS_MAY_DIFFER, LEASE, RENEW_EVERY
from waypost.delivery.queue.worker import Worker
from waypost.domain.mail.delivery import Policy, Status
from waypost.observe import events

TEN_DAYS = timedelta(days=10)
POLICY = Policy(retry_schedule=(timedelta(minutes=5), timedelta(hours=1)))


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, 2 * PATIENCE))


def test_mail_that_was_deferred_while_the_clock_was_ahead_is_retried_soon_after_the_correction(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(NOT_NOW, TAKEN), policy=POLICY) as system:
            system.clock._ahead += TEN_DAYS
            message_id = await system.send("support")
            await system.rest()
            system.clock._ahead -= TEN_DAYS
            await system.advance(minutes=6)
            assert (await system.delivery(message_id, "support")).status is Status.DELIVERED

    run(scenario())


def test_a_destination_that_failed_while_the_clock_was_ahead_is_not_paused_until_that_time(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(GONE, TAKEN), policy=POLICY) as system:
            system.clock._ahead += TEN_DAYS
            message_ids = [await system.send("support") for _ in range(2)]
            await system.rest()
            system.clock._ahead -= TEN_DAYS
            await system.advance(minutes=6)
            for message_id in message_ids:
                assert (await system.delivery(message_id, "support")).status is Status.DELIVERED

    run(scenario())


def test_mail_that_was_deferred_while_the_clock_was_ahead_waits_at_most_the_longest_pause(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(NOT_NOW, TAKEN), start=False, policy=POLICY) as system:
            message_id = await system.send("support")
            system.clock._ahead += timedelta(days=4)
            await system.worker.start()
            await system.rest()
            system.clock._ahead -= timedelta(days=4)
            await system.advance(minutes=70)
            assert (await system.delivery(message_id, "support")).status is Status.DELIVERED

    run(scenario())


def test_mail_that_was_deferred_before_the_clock_was_set_back_is_delivered_after_a_restart(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(GONE, TAKEN), policy=POLICY) as system:
            system.clock._ahead += TEN_DAYS
            message_id = await system.send("support")
            await system.rest()
            await system.worker.stop()
            system.clock._ahead -= TEN_DAYS
            again = Worker(system.deps)
            await again.start()
            await system.clock.advance(timedelta(minutes=6), again.rest)
            await again.stop()
            assert (await system.delivery(message_id, "support")).status is Status.DELIVERED

    run(scenario())


def test_mail_that_was_queued_while_the_clock_was_ahead_is_given_up_on_time(tmp_path):
    policy = Policy(retry_schedule=(timedelta(hours=1),), expire=timedelta(days=1))

    async def scenario():
        async with a_system(tmp_path, Scripted(NOT_NOW), policy=policy) as system:
            system.clock._ahead += TEN_DAYS
            message_id = await system.send("support")
            await system.rest()
            system.clock._ahead -= TEN_DAYS
            await system.advance(days=1, minutes=10)
            assert (await system.delivery(message_id, "support")).status is Status.DEAD

    run(scenario())


def test_mail_whose_time_runs_out_while_it_waits_is_given_up_with_an_event(tmp_path):
    async def scenario():
        async with a_system(tmp_path, Scripted(NOT_NOW), policy=Policy(expire=timedelta(days=1))) as system:
            message_id = await system.send("support")
            await system.rest()
            system.clock._ahead += TEN_DAYS
            await system.rest()
            delivery = await system.delivery(message_id, "support")
            assert delivery.status is Status.DEAD
            (given_up,) = (event for event in system.emitted if isinstance(event, events.GivenUp))
            assert given_up == events.GivenUp(
                id=delivery.id, destination=delivery.destination, attempt=1, stage="", code=0, trouble="expired"
            )

    run(scenario())


# Two servers with different clocks

MOST_AHEAD = 2 * CLOCKS_MAY_DIFFER + RENEW_EVERY
"""How far another server sees into a lease, in seconds: its clock is ahead, and the lease is about to be renewed."""


@pytest.mark.parametrize(("ahead", "attempts"), [(MOST_AHEAD, 1), (LEASE.total_seconds() + 1, 2)])
def test_another_server_attempts_a_delivery_too_only_if_the_clocks_differ_more_than_they_may(tmp_path, ahead, attempts):
    """Even then, the outcome is recorded once."""

    async def scenario():
        transport, go_on = hanging()
        async with a_system(tmp_path, transport) as system:
            message_id = await system.send("support")
            await until(lambda: len(transport.parcels) == 1)
            clock = system.clock
            other = Worker(replace(system.deps, clock=lambda: clock() + timedelta(seconds=ahead), is_alone=False))
            await other.start()
            await other._pass()
            await other._pass()
            assert len(transport.parcels) == attempts
            go_on.set()
            await other.rest()
            await system.rest()
            await other.stop()
            assert (await system.delivery(message_id, "support")).status is Status.DELIVERED
            assert (await system.events(message_id)).count("delivered") == 1
            lost = [event for event in system.emitted if isinstance(event, events.LeaseLost)]
            assert len(lost) == attempts - 1

    run(scenario())
