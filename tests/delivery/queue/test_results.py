"""Outcomes that arrive while others are being recorded: one transaction, and what happens if it fails."""

import asyncio
from types import SimpleNamespace

import pytest

from tests.delivery.queue.test_destinations import WORKED
from tests.kit.patience import PATIENCE
from tests.kit.servers.worker_alone import TAKEN
from tests.kit.values import NOW
from waypost.app.ports import StoreUnavailable
from waypost.app.queue.attempt import Outcome
from waypost.delivery.queue import results as results_module
from waypost.delivery.queue.results import Results

GONE, BUG = StoreUnavailable("gone"), RuntimeError("a bug")


def outcome(name):
    claimed = SimpleNamespace(name=name, delivery=SimpleNamespace(id=f"id of {name}"))
    return Outcome(claimed, TAKEN, WORKED, NOW)


class Store:
    """A store that records nothing, and fails with the errors that are listed for the name of the use case."""

    def __init__(self, **errors):
        self.errors = errors
        self.written = []

    async def write(self, use_case):
        name, given = use_case.func.__name__, use_case.keywords
        names = [each.claimed.name for each in given.get("outcomes") or [given["outcome"]]]
        self.written.append((name, names))
        await asyncio.sleep(0)
        if self.errors.get(name):
            raise self.errors[name].pop(0)
        recorded = [each != "lost" for each in names]
        return recorded if name == "record_all" else recorded[0]


async def recorded(store, *names, lease_ends=False, then=None):
    """Record outcomes: the first, and the others during its transaction. Returns the results, and the failures."""
    found, failures = {}, []
    leases = SimpleNamespace(has_ended=lambda claimed: lease_ends)
    results = Results(store, leases, failed=lambda *failure: failures.append(failure))
    for name in names:
        results.add(outcome(name), then or (lambda result, name=name: found.setdefault(name, result)))
        while not store.written:  # noqa: ASYNC110
            await asyncio.sleep(0)
    while results.tasks:
        await asyncio.wait(results.tasks)
    return found, failures


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, PATIENCE))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(results_module, "PAUSE_AFTER_FAILURE", 0)


def test_outcomes_that_arrive_during_a_transaction_share_the_next_one():
    store = Store()
    assert run(recorded(store, "a", "lost", "b")) == ({"a": True, "lost": False, "b": True}, [])
    assert store.written == [("record", ["a"]), ("record_all", ["lost", "b"])]


def test_a_transaction_records_a_limited_number_of_outcomes(monkeypatch):
    monkeypatch.setattr(results_module, "AT_ONCE", 2)
    store = Store()
    run(recorded(store, *"abcd"))
    assert store.written == [("record", ["a"]), ("record_all", ["b", "c"]), ("record", ["d"])]


@pytest.mark.parametrize("error", [BUG, GONE], ids=repr)
def test_outcomes_that_cannot_be_recorded_together_are_recorded_one_by_one(error):
    store = Store(record_all=[error])
    found, failures = run(recorded(store, "a", "b", "lost"))
    assert found == {"a": True, "b": True, "lost": False}
    assert store.written[1:] == [("record_all", ["b", "lost"]), ("record", ["b"]), ("record", ["lost"])]
    assert failures == ([(BUG, "")] if error is BUG else [])


def test_an_outcome_is_recorded_again_until_the_store_works():
    store = Store(record=[GONE, GONE])
    assert run(recorded(store, "a")) == ({"a": True}, [(GONE, "id of a")] * 2)
    assert store.written == [("record", ["a"])] * 3


@pytest.mark.parametrize(("error", "lease_ends"), [(BUG, False), (GONE, True)], ids=repr)
def test_an_outcome_is_not_recorded_again_after_a_bug_or_after_the_end_of_its_lease(error, lease_ends):
    store = Store(record=[error])
    assert run(recorded(store, "a", lease_ends=lease_ends)) == ({"a": None}, [(error, "id of a")])
    assert store.written == [("record", ["a"])]


def test_a_failure_after_a_transaction_is_logged_and_does_not_affect_other_outcomes():
    def then(_):
        raise BUG

    store = Store()
    assert run(recorded(store, *"abc", then=then)) == ({}, [(BUG, f"id of {name}") for name in "abc"])
    assert store.written == [("record", ["a"]), ("record_all", ["b", "c"])]
