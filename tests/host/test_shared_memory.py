"""The limits on clients apply to all worker processes of a server together."""

import multiprocessing
from datetime import UTC, datetime

import pytest

from tests.kit.patience import NEVER, PATIENCE
from waypost.app.connections import OpenConnections
from waypost.app.limit_state import OwnState
from waypost.app.rate_limits import Buckets
from waypost.domain.limits.rates import Rate
from waypost.host import shared_memory
from waypost.host.shared_memory import WAYS, SharedMemory

FORK = multiprocessing.get_context("fork")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def one_set(monkeypatch):
    """Let all keys of a table have the same set."""
    monkeypatch.setattr(shared_memory, "SETS", 1)


@pytest.fixture
def workers():
    """The states of two worker processes."""
    memory = SharedMemory(2)
    return memory.state_of(1), memory.state_of(2)


def test_a_time_is_the_same_for_all_workers_and_different_for_other_names_and_keys(workers):
    first, second = (worker.times("calls") for worker in workers)
    first.put("a", 5.0, now=0.0)
    assert (second.get("a"), second.get("b"), workers[1].times("messages").get("a")) == (5.0, 0.0, 0.0)
    second.put("a", 6.0, now=0.0)
    assert first.get("a") == 6.0


@pytest.mark.usefixtures("one_set")
def test_if_a_set_is_full_the_time_that_comes_first_is_dropped(workers):
    times = workers[0].times("calls")
    for number in range(WAYS):
        times.put(number, 10.0 + number, now=0.0)
    times.put("new", 100.0, now=0.0)
    assert [times.get(number) for number in range(WAYS)] == [0.0, *(10.0 + number for number in range(1, WAYS))]
    assert times.get("new") == 100.0


def take_all(state, start, taken):
    buckets = Buckets(Rate(per_second=0.001, burst=500), state.times("calls"))
    start.wait(PATIENCE)
    taken.put(sum(buckets.take("account", NOW).admitted for _ in range(500)))


def test_two_processes_together_get_exactly_as_many_tokens_as_one(workers, monkeypatch):
    monkeypatch.setattr(shared_memory, "PATIENCE", NEVER)  # a busy machine can stop a process while it holds the lock
    start, taken = FORK.Barrier(2), FORK.Queue()
    processes = [FORK.Process(target=take_all, args=(worker, start, taken)) for worker in workers]
    for process in processes:
        process.start()
    counts = [taken.get(timeout=PATIENCE) for _ in processes]
    for process in processes:
        process.join(PATIENCE)
    assert sum(counts) == 500


def test_connections_to_all_workers_count_together(workers):
    first, second = (OpenConnections(4, 2, worker, "smtp") for worker in workers)
    first.add("192.0.2.1")
    assert (second.count, second.is_at_limit("192.0.2.1"), second.networks) == (1, False, 0)
    second.add("192.0.2.1")
    assert first.is_at_limit("192.0.2.1")
    assert not first.is_at_limit("192.0.2.2")
    second.remove("192.0.2.1")
    assert (first.count, first.is_at_limit("192.0.2.1")) == (1, False)
    for peer in ("192.0.2.3", "192.0.2.4", "192.0.2.5"):
        second.add(peer)
    assert first.is_full
    assert first.is_crowded
    first.remove("192.0.2.1")
    assert not second.is_full


def test_connections_of_different_kinds_are_counted_separately(workers):
    smtp, http = OpenConnections(4, 1, workers[0], "smtp"), OpenConnections(4, 1, workers[1], "http")
    smtp.add("192.0.2.1")
    assert (http.count, http.is_at_limit("192.0.2.1")) == (0, False)


def test_a_replacement_forgets_the_connections_of_the_worker_that_died():
    memory = SharedMemory(2)
    died, other = (OpenConnections(4, 1, memory.state_of(number), "smtp") for number in (1, 2))
    died.add("192.0.2.1")
    assert other.is_at_limit("192.0.2.1")
    memory.state_of(1)
    assert (other.count, other.is_at_limit("192.0.2.1")) == (0, False)


@pytest.mark.usefixtures("one_set")
def test_if_a_set_is_full_further_keys_count_only_for_their_own_worker(workers):
    counts, others = (worker.counts("connections") for worker in workers)
    for number in range(WAYS + 1):
        counts.change(str(number), 1)
    assert [others.of(str(number)) for number in range(WAYS + 1)] == [1] * WAYS + [0]
    assert (counts.of(str(WAYS)), len(counts)) == (1, WAYS + 1)
    counts.change("0", -1)
    counts.change(str(WAYS), 1)
    assert (others.of("0"), others.of(str(WAYS))) == (0, 2)
    counts.change(str(WAYS), -2)
    assert (others.of(str(WAYS)), len(counts)) == (0, WAYS - 1)


def test_the_state_of_one_process_gives_every_name_a_table_of_its_own():
    state = OwnState()
    state.times("calls").put("a", 5.0, now=0.0)
    assert state.times("messages").get("a") == 0.0


def test_a_process_that_keeps_the_lock_does_not_stop_the_others(workers, monkeypatch):
    monkeypatch.setattr(shared_memory, "PATIENCE", 0.01)
    locked, ended = FORK.Event(), FORK.Event()

    def hold():
        with workers[0].times("calls").locked():
            locked.set()
            ended.wait(PATIENCE)

    holder = FORK.Process(target=hold, daemon=True)
    holder.start()
    assert locked.wait(PATIENCE)
    buckets = Buckets(Rate(per_second=1, burst=2), workers[1].times("calls"))
    assert [buckets.take("a", NOW).admitted for _ in range(3)] == [True, True, False]
    ended.set()
    holder.join(PATIENCE)
