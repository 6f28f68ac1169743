"""The worker's behaviour when the store is busy or unavailable, when a lease expires, and when the routes have
changed.
"""

import asyncio
from datetime import timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from tests.kit.patience import PATIENCE
from tests.kit.servers.worker_alone import GONE, NEVER, NOT_NOW, PEER, TAKEN, Scripted, a_system, hanging
from waypost.app.ports import StoreUnavailable
from waypost.app.queue import attempt
from waypost.delivery.queue import leases, results
from waypost.delivery.queue import worker as worker_module
from waypost.delivery.queue.leases import LEASE, Leases
from waypost.delivery.queue.worker import Worker
from waypost.domain.errors import Busy
from waypost.domain.mail.delivery import Protocol, Status
from waypost.domain.mail.routes import Route
from waypost.observe import events

BUSY = Busy("Another call is changing the same resource.")
HELP = "smtp://help.example:25"


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, 2 * PATIENCE))


class Store:
    """Wraps a store. Before each write, `before` is awaited with the use case, and may raise an exception."""

    def __init__(self, store, before):
        self._store, self._before = store, before

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def write(self, use_case, **_):
        await self._before(use_case)
        return await self._store.write(use_case)


def failing(name, *errors):
    """Make use cases of this name fail with these errors, one after the other. Also returns the list of calls."""
    left, came = list(errors), []

    async def before(use_case):
        if getattr(getattr(use_case, "func", None), "__name__", "") == name:
            came.append(use_case)
            if left:
                raise left.pop(0)

    return lambda store: Store(store, before), came


async def until(condition):
    while not condition():  # noqa: ASYNC110 - the condition has no event
        await asyncio.sleep(0.001)


def emitted(system, kind):
    return [event for event in system.emitted if isinstance(event, kind)]


# Routes that have changed


async def _drained(system, routes):
    """Let another worker with these routes empty the queue. Returns how often the worker read the queue."""
    deployment = replace(system.deployment, routes=routes, routes_revision="2")
    worker = Worker(replace(system.deps, deployment=deployment))
    await worker.start()
    await worker.rest()
    await worker.stop()
    return worker._passes


def test_a_queue_whose_route_was_removed_is_emptied_immediately(tmp_path):
    async def scenario():
        async with a_system(tmp_path, start=False) as system:
            for _ in range(200):
                await system.send("support")
            passes = await _drained(system, routes=())
            assert len(await system.inbox("support")) == 100  # the maximum that is listed
            assert await system.store.read(lambda tx: tx.waiting()) == []
            assert passes < 30
            assert system.transport.parcels == []

    run(scenario())


def test_a_queue_whose_route_has_another_destination_now_is_moved_and_sent_immediately(tmp_path):
    async def scenario():
        async with a_system(tmp_path, start=False) as system:
            for _ in range(100):
                await system.send("support")
            await _drained(system, routes=(Route(match="*", to=HELP),))
            assert len(system.transport.parcels) == 100
            assert await system.store.read(lambda tx: tx.waiting()) == []

    run(scenario())


# Leases


@pytest.mark.parametrize("error", [BUSY, StoreUnavailable("gone"), RuntimeError("a bug")], ids=repr)
def test_a_failed_renewal_is_logged_and_retried(tmp_path, monkeypatch, error):
    monkeypatch.setattr(leases, "RENEW_EVERY", 0.001)
    monkeypatch.setattr(leases, "RENEW_AGAIN", 0.001)
    beside, renewals = failing("renew", error, error)

    async def scenario():
        transport, go_on = hanging()
        async with a_system(tmp_path, transport, beside=beside) as system:
            message_id = await system.send("support")
            await until(lambda: len(renewals) >= 4)
            assert [event.cause for event in system.emitted] == [error, error]
            go_on.set()
            await system.rest()
            assert (await system.delivery(message_id, "support")).status is Status.DELIVERED
            system.emitted[:] = [event for event in system.emitted if not isinstance(event, events.Failed)]

    run(scenario())


def test_a_renewal_that_fails_repeatedly_does_not_prevent_the_renewal_of_other_leases(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_EVERY", 0.001)
    monkeypatch.setattr(leases, "RENEW_AGAIN", 0.001)
    came = []

    async def before(use_case):
        if getattr(use_case, "func", None) is attempt.renew:
            claim = use_case.keywords["claim"]
            came.append(claim)
            if claim == came[0]:
                raise BUSY

    async def scenario():
        transport, go_on = hanging()
        of_routes = (Route(match="help@example.com", to=HELP), Route(match="*", to=PEER))
        names = ("help", "support")
        async with a_system(
            tmp_path, transport, names=names, of_routes=of_routes, beside=lambda store: Store(store, before)
        ) as system:
            await system.send(*names)
            await until(lambda: len(set(came)) == 2)
            (other,) = set(came) - {came[0]}
            await until(lambda: came.count(other) >= 5)
            go_on.set()
            await system.rest()
            assert len(transport.parcels) == 2

    run(scenario())


def test_a_renewal_while_a_claim_is_being_made_does_not_treat_the_claim_as_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_EVERY", 0.001)

    renewals = 0
    renew_all = Leases.renew_all

    async def counting(of_worker):
        nonlocal renewals
        renewals += 1
        if renewals == 5:
            await asyncio.Event().wait()  # prevent a renewal after the claim, which would hide the problem
        return await renew_all(of_worker)

    monkeypatch.setattr(Leases, "renew_all", counting)

    async def scenario():
        claiming, go_on = asyncio.Event(), asyncio.Event()

        async def before(use_case):
            if getattr(use_case, "func", None) is attempt.claim:
                claiming.set()
                await go_on.wait()

        async with a_system(tmp_path, start=False, beside=lambda store: Store(store, before)) as system:
            message_id = await system.send("support")
            await system.worker.start()
            await claiming.wait()
            await until(lambda: renewals == 5)
            go_on.set()
            await system.rest()
            assert (await system.delivery(message_id, "support")).status is Status.DELIVERED
            assert emitted(system, events.LeaseLost) == []

    run(scenario())


def test_a_result_is_not_recorded_if_another_server_has_claimed_the_delivery(
    tmp_path,
):
    async def scenario():
        transport, go_on = hanging()
        async with a_system(tmp_path, transport) as system:
            message_id = await system.send("support")
            await until(lambda: transport.running)
            taken = await system.store.write(
                lambda tx: attempt.claim(
                    tx,
                    system.deployment,
                    destination=PEER,
                    claim="another server",
                    now=system.clock() + 2 * LEASE,
                    lease=LEASE,
                    limit=9,
                )
            )
            assert len(taken.ready) == 1
            go_on.set()
            await system.rest()
            assert await system.events(message_id) == ["accepted", "queued"]
            assert emitted(system, events.Delivered) == []
            (lost,) = emitted(system, events.LeaseLost)
            assert (lost.id, lost.destination) == (f"{message_id}.support", PEER)

    run(scenario())


class CommitsUnheard(Store):
    """A store whose first write of an outcome commits, but fails, as if the connection was lost at that moment."""

    def __init__(self, store):
        async def before(_):
            pass

        super().__init__(store, before)
        self.unheard = 0

    async def write(self, use_case, **_):
        found = await self._store.write(use_case)
        if getattr(getattr(use_case, "func", None), "__name__", "") == "record" and not self.unheard:
            self.unheard += 1
            raise StoreUnavailable("the connection was lost")
        return found


@pytest.mark.parametrize(
    ("result", "event", "kinds"),
    [
        (TAKEN, events.Delivered, ["delivered"]),
        (NEVER, events.GivenUp, ["dead", "not notified"]),
        (NOT_NOW, events.DeliveryDeferred, ["deferred"]),
    ],
)
def test_an_outcome_whose_commit_was_not_answered_is_not_logged_as_a_lost_lease(
    tmp_path, monkeypatch, result, event, kinds
):
    monkeypatch.setattr(results, "PAUSE_AFTER_FAILURE", 0.0)

    async def scenario():
        async with a_system(tmp_path, Scripted(result), beside=CommitsUnheard) as system:
            message_id = await system.send("support")
            await until(lambda: emitted(system, event) or emitted(system, events.LeaseLost))
            assert emitted(system, events.LeaseLost) == []
            assert [each.id for each in emitted(system, event)] == [f"{message_id}.support"]
            await system.rest()
            assert await system.events(message_id) == ["accepted", "queued", *kinds]

    run(scenario())


def test_a_delivery_whose_lease_ended_before_its_attempt_is_not_sent_and_is_claimed_again(tmp_path):
    async def scenario():
        seconds = 0.0
        transport, go_on = hanging(first=1)
        one_by_one = (Route(match="*", to=PEER, connections=1),)
        beside, _ = failing("renew", *[StoreUnavailable("gone")] * 1_000)
        async with a_system(
            tmp_path, transport, of_routes=one_by_one, start=False, beside=beside, seconds=lambda: seconds
        ) as system:
            sent = [await system.send("support") for _ in range(5)]
            await system.worker.start()
            await until(lambda: len(transport.parcels) == 2)
            seconds += LEASE.total_seconds()
            go_on.set()
            await system.rest()
            assert len(transport.parcels) == 2
            assert len(emitted(system, events.LeaseLost)) == 3
            await system.advance(minutes=3)
            assert {(await system.delivery(message_id, "support")).status for message_id in sent} == {Status.DELIVERED}
            assert len(transport.parcels) == 5

    run(scenario())


def test_deliveries_that_another_server_has_claimed_are_not_sent_even_if_the_rest_was_renewed(tmp_path):
    """The situation after a pause of this process: its leases have expired, and another server has claimed some
    deliveries.
    """

    async def scenario():
        transport, go_on = hanging(first=1)
        one_by_one = (Route(match="*", to=PEER, connections=1),)
        async with a_system(tmp_path, transport, of_routes=one_by_one, start=False) as system:
            sent = [await system.send("support") for _ in range(5)]
            await system.worker.start()
            await until(lambda: len(transport.parcels) == 2)
            claim = partial(attempt.claim, deployment=system.deployment, destination=PEER, claim="another server")
            taken = await system.store.write(partial(claim, now=system.clock() + 2 * LEASE, lease=LEASE, limit=3))
            assert await system.worker._leases.renew_all()
            go_on.set()
            await system.rest()
            theirs = {ready.claimed.message.id for ready in taken.ready}
            assert len(theirs) == 3
            ours = [parcel.message.id for parcel in transport.parcels[2:]]
            assert theirs.isdisjoint(ours)
            assert {*sent} == theirs | {parcel.message.id for parcel in transport.parcels}

    run(scenario())


def test_a_delivery_that_is_being_attempted_is_not_claimed_again_when_the_clock_is_set_forward(tmp_path):
    async def scenario():
        transport, go_on = hanging(first=1)
        async with a_system(tmp_path, transport, start=False) as system:
            sent = [await system.send("support") for _ in range(2)]
            await system.worker.start()
            await until(lambda: transport.running)
            system.clock._ahead += timedelta(hours=3)
            await system.worker._pass()
            await system.worker._pass()
            go_on.set()
            await system.rest()
            assert len(transport.parcels) == 2
            assert {(await system.delivery(message_id, "support")).status for message_id in sent} == {Status.DELIVERED}

    run(scenario())


def test_a_delivery_that_is_being_attempted_is_not_given_up_when_the_clock_is_set_forward_in_a_pass(tmp_path):
    """Otherwise the sender would get a bounce for mail that is delivered."""

    async def scenario():
        transport, go_on = hanging()
        async with a_system(tmp_path, transport) as system:
            sent = await system.send("support")
            await until(lambda: transport.running)
            sweeps = system.worker._sweeps
            step = sweeps._step

            async def step_when_the_clock_was_set(*given):
                sweeps._step = step
                system.clock._ahead += timedelta(days=10)
                return await step(*given)

            sweeps._step, sweeps._next = step_when_the_clock_was_set, None
            await system.worker._pass()
            await system.worker._pass()
            assert sweeps._step == step
            go_on.set()
            await system.rest()
            assert len(transport.parcels) == 1
            assert (await system.delivery(sent, "support")).status is Status.DELIVERED

    run(scenario())


def test_a_delivery_that_could_not_be_released_is_not_renewed_any_more(tmp_path):
    beside, _ = failing("give_back", BUSY)

    async def scenario():
        transport, go_on = hanging(first=1, then=GONE)
        one_by_one = (Route(match="*", to=PEER, connections=1),)
        async with a_system(tmp_path, transport, of_routes=one_by_one, start=False, beside=beside) as system:
            for _ in range(5):
                await system.send("support")
            await system.worker.start()
            await until(lambda: len(transport.parcels) == 2)
            go_on.set()
            await system.rest()
            assert [event.cause for event in emitted(system, events.StoreFailed)] == [BUSY]
            assert system.worker._leases._leases == {}

    run(scenario())


# A store that is busy or unavailable


@pytest.mark.parametrize("error", [BUSY, StoreUnavailable("gone")], ids=repr)
def test_a_result_that_the_store_did_not_accept_is_recorded_later_and_nothing_is_sent_again(
    tmp_path, monkeypatch, error
):
    monkeypatch.setattr(results, "PAUSE_AFTER_FAILURE", 0.001)
    beside, records = failing("record", error, error, error)

    async def scenario():
        async with a_system(tmp_path, Scripted(NEVER), beside=beside) as system:
            message_id = await system.send("support")
            await system.rest()
            assert len(records) == 4
            assert [event.cause for event in emitted(system, events.StoreFailed)] == [error] * 3
            assert len(system.transport.parcels) == 1
            told = await system.trace(message_id)
            assert [event.kind for event in told] == ["accepted", "queued", "dead", "not notified"]
            assert "internal error" not in told[-1].detail.because

    run(scenario())


def test_after_a_failed_claim_the_next_pass_waits_for_all_other_claims(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_module, "PAUSE_AFTER_FAILURE", 0)

    async def scenario():
        go_on, failed = asyncio.Event(), asyncio.Event()
        claims = []

        async def before(use_case):
            destination = getattr(use_case, "keywords", {}).get("destination")
            if not destination:
                return
            claims.append(destination)
            if destination == HELP and claims.count(HELP) == 1:
                failed.set()
                raise BUSY
            if destination == PEER and not go_on.is_set():
                await go_on.wait()

        of_routes = (Route(match="help@example.com", to=HELP), Route(match="*", to=PEER))
        async with a_system(
            tmp_path,
            names=("help", "support"),
            of_routes=of_routes,
            start=False,
            beside=lambda store: Store(store, before),
        ) as system:
            await system.send("help", "support")
            await system.worker.start()
            await failed.wait()
            system.worker.wake()
            for _ in range(1_000):  # if the worker did not wait for the other claim, it would read the queue again now
                await asyncio.sleep(0)
            assert sorted(claims) == [HELP, PEER]
            go_on.set()
            await system.rest()
            assert len(system.transport.parcels) == 2
            assert [event.cause for event in emitted(system, events.StoreFailed)] == [BUSY]

    run(scenario())


# Stopping the worker


@pytest.mark.parametrize("error", [BUSY, StoreUnavailable("gone"), RuntimeError("a bug")], ids=repr)
def test_a_stop_closes_all_transports_even_if_some_steps_fail(tmp_path, monkeypatch, error):
    monkeypatch.setattr(worker_module, "STOP_SECONDS", 0.001)
    beside, _ = failing("release", error)

    class Unclosable(Scripted):
        async def close(self):
            await super().close()
            raise RuntimeError("cannot be closed")

    async def scenario():
        transport, _ = hanging()
        others = {protocol: Unclosable() for protocol in (Protocol.LMTP, Protocol.MAILDIR, Protocol.WEBHOOK)}
        async with a_system(tmp_path, transport, start=False, beside=beside) as system:
            worker = Worker(replace(system.deps, transports={**others, Protocol.SMTP: transport}))
            await worker.start()
            await system.send("support")
            worker.wake()
            await until(lambda: transport.running)
            await worker.stop()
            assert [each.closed for each in (transport, *others.values())] == [True] * 4
            failed = [event.cause for event in system.emitted]
            assert failed[0] is error
            assert [str(cause) for cause in failed[1:]] == ["cannot be closed"] * 3
            system.emitted.clear()

    run(scenario())
