"""Outcomes that arrive while others are being recorded: one transaction, and what happens if it fails."""

import asyncio

import pytest

from tests.delivery.queue.test_destinations import WORKED
from tests.kit.patience import PATIENCE
from tests.kit.servers.worker_alone import TAKEN
from tests.kit.values import NOW
from waypost.app.ports import StoreUnavailable
from waypost.app.queue.attempt import Outcome
from waypost.delivery.queue import results as results_module
from waypost.delivery.queue.results import Results


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, PATIENCE))


class Store:
    """A store that records nothing. Its first transaction takes until the test sets `go_on`."""

    def __init__(self, **errors):
        self.go_on = asyncio.Event()
        self.errors = errors
        self.written = []

    async def write(self, use_case):
        name, given = use_case.func.__name__, use_case.keywords
        outcomes = given.get("outcomes") or [given["outcome"]]
        self.written.append((name, [each.claimed for each in outcomes]))
        if len(self.written) == 1:
            await self.go_on.wait()
        if error := self.errors.get(name):
            raise error
        recorded = [each.claimed != "lost" for each in outcomes]
        return recorded if name == "record_all" else recorded[0]


async def recorded(store, *claimed, failed=None):
    """Record an outcome, and the others during its transaction. Returns whether each was recorded, or the exception."""
    recording = await begin(store, Results(store, failed=failed or pytest.fail), *claimed)
    store.go_on.set()
    return await asyncio.gather(*recording, return_exceptions=True)


async def begin(store, results, *claimed):
    tasks = []
    for each in claimed:
        tasks.append(asyncio.create_task(results.record(Outcome(each, TAKEN, WORKED, NOW))))
        await asyncio.sleep(0)
        while not store.written:  # noqa: ASYNC110
            await asyncio.sleep(0)
    return tasks


def test_outcomes_that_arrive_during_a_transaction_share_the_next_one():
    async def scenario():
        store = Store()
        assert await recorded(store, "a", "lost", "b") == [True, False, True]
        assert store.written == [("record", ["a"]), ("record_all", ["lost", "b"])]

    run(scenario())


def test_a_transaction_records_a_limited_number_of_outcomes(monkeypatch):
    monkeypatch.setattr(results_module, "AT_ONCE", 2)

    async def scenario():
        store = Store()
        assert await recorded(store, *"abcd") == [True] * 4
        assert store.written == [("record", ["a"]), ("record_all", ["b", "c"]), ("record", ["d"])]

    run(scenario())


@pytest.mark.parametrize("error", [RuntimeError("a bug"), StoreUnavailable("gone")], ids=repr)
def test_outcomes_that_cannot_be_recorded_together_are_recorded_one_by_one(error):
    async def scenario():
        store, failures = Store(record_all=error), []
        assert await recorded(store, "a", "b", "lost", failed=failures.append) == [True, True, False]
        assert store.written[1:] == [("record_all", ["b", "lost"]), ("record", ["b"]), ("record", ["lost"])]
        assert failures == [error] * isinstance(error, RuntimeError)

    run(scenario())


def test_a_caller_gets_the_error_of_its_own_transaction():
    async def scenario():
        error = StoreUnavailable("gone")
        store = Store(record=error, record_all=error)
        assert await recorded(store, "a", "b", "c") == [error] * 3

    run(scenario())


def test_a_caller_that_has_stopped_waiting_is_left_out():
    async def scenario():
        store = Store()
        results = Results(store, failed=pytest.fail)
        first, second, third = await begin(store, results, *"abc")
        second.cancel()
        first.cancel()
        await asyncio.wait([first, second])
        store.go_on.set()
        assert await third is True
        assert store.written == [("record", ["a"]), ("record", ["c"])]

    run(scenario())


def test_a_stop_does_not_wait_for_the_transaction():
    async def scenario():
        store = Store()
        results = Results(store, failed=pytest.fail)
        await results.stop()
        (waiting,) = await begin(store, results, "a")
        waiting.cancel()
        await results.stop()

    run(scenario())
