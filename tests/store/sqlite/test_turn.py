"""Several processes write to one SQLite file in turn, and a process that was killed keeps no other process waiting."""

import asyncio
import multiprocessing
import os
import signal
import sys
import threading

import pytest

from tests.kit.patience import NEVER, PATIENCE, until, wait_until
from tests.kit.stores.calls import associating, creating, deleting, disassociating
from tests.kit.stores.time_limits import set_limits
from tests.kit.stores.turns import is_waiting
from tests.kit.values import NoSeal, make_instance
from waypost.app import ports
from waypost.store.sqlite import batches as batches_module
from waypost.store.sqlite import store as sqlite
from waypost.store.sqlite.turn import Turn, TurnIsLate

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "waypost.sqlite3"


@pytest.fixture
def holder(path):
    """A process that has the turn until it is killed or told to end."""
    begun, ended = FORK.Event(), FORK.Event()

    def hold():
        Turn(path).take()
        begun.set()
        ended.wait()

    process = FORK.Process(target=hold, daemon=True)
    process.start()
    assert begun.wait(PATIENCE)
    yield process, ended
    process.kill()
    process.join()


def test_a_process_that_waits_gets_the_turn_before_the_process_that_has_just_ended_its_turn(path):
    first, second, had = Turn(path), Turn(path), []

    def take():
        second.take()
        had.append("second")
        second.end()

    first.take()
    waiting = threading.Thread(target=take)
    waiting.start()
    wait_until(lambda: is_waiting(path))
    first.end()
    first.take()
    had.append("first")
    waiting.join(PATIENCE)
    assert had == ["second", "first"]
    first.close()
    second.close()


def test_a_killed_process_loses_its_turn(path, holder):
    process, _ = holder
    process.kill()
    process.join(PATIENCE)
    with Turn(path).taken_within(PATIENCE):
        pass


def test_a_process_does_not_wait_forever_to_open_a_file_that_another_process_writes(path, holder, monkeypatch):
    set_limits(monkeypatch, other_process=0.05)

    async def open_store():
        sqlite.SqliteStore(path, NoSeal())

    with pytest.raises(ports.StoreUnavailable, match=r"has been writing to the file for more than 0.05 s"):
        asyncio.run(open_store())
    with pytest.raises(TurnIsLate), Turn(path).taken_within(0):
        pass


def test_a_write_is_refused_while_another_process_keeps_its_turn_and_works_again_afterwards(path, monkeypatch):
    set_limits(monkeypatch, other_process=0.05)
    monkeypatch.setattr(sqlite, "WATCH_EVERY", 0.01)

    async def scenario():
        store = sqlite.SqliteStore(path, NoSeal())
        other = Turn(path)
        other.take()
        with pytest.raises(ports.StoreUnavailable, match=r"could not begin its turn .* more than 0.05 s"):
            await store.write(lambda tx: make_instance(tx, "refused"))
        other.end()
        set_limits(monkeypatch, other_process=NEVER)
        await store.write(lambda tx: make_instance(tx, "stored"))
        found = await store.read(lambda tx: tx.connection.execute("SELECT id FROM instances").fetchall())
        await store.close()
        other.close()
        return found

    assert asyncio.run(scenario()) == [("stored",)]


def test_writes_that_arrive_while_a_writer_waits_for_its_turn_join_its_batch(path, monkeypatch):
    batches = []
    run_batch = batches_module.run
    monkeypatch.setattr(batches_module, "run", lambda tx, batch: batches.append(len(batch)) or run_batch(tx, batch))

    async def scenario():
        store = sqlite.SqliteStore(path, NoSeal())
        other = Turn(path)
        other.take()
        first = asyncio.ensure_future(store.write(lambda tx: make_instance(tx, "first")))
        await until(lambda: store._waits_since is not None)
        others = [asyncio.ensure_future(store.write(lambda tx, n=n: make_instance(tx, f"i{n}"))) for n in range(5)]
        await asyncio.sleep(0)
        other.end()
        await asyncio.gather(first, *others)
        await store.close()
        other.close()

    asyncio.run(scenario())
    assert batches == [6]


def test_a_store_closes_although_another_process_keeps_its_turn(path, monkeypatch):
    set_limits(monkeypatch, other_process=0.05)
    monkeypatch.setattr(sqlite, "WATCH_EVERY", 0.01)

    async def scenario():
        store = sqlite.SqliteStore(path, NoSeal())
        other = Turn(path)
        other.take()
        waiting = asyncio.ensure_future(store.write(lambda tx: make_instance(tx, "refused")))
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(ports.StoreUnavailable):
            await waiting
        other.end()
        store._writer.join(PATIENCE)
        other.close()

    asyncio.run(scenario())


def test_a_failure_of_the_lock_is_reported_to_the_callers(path, monkeypatch):
    async def scenario():
        store = sqlite.SqliteStore(path, NoSeal())
        failing = threading.Event()

        def take():
            failing.set()
            raise OSError("no locks available")

        monkeypatch.setattr(store._turn, "take", take)
        with pytest.raises(ports.StoreUnavailable, match=r"could not begin its turn .* no locks available"):
            await store.write(lambda tx: make_instance(tx, "refused"))
        assert failing.is_set()
        await store.close()

    asyncio.run(scenario())


def test_a_stopped_process_delays_other_processes_until_it_continues(path, holder):
    process, ended = holder
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(TurnIsLate), Turn(path).taken_within(0.05):
        pass
    os.kill(process.pid, signal.SIGCONT)
    ended.set()
    with Turn(path).taken_within(PATIENCE):
        pass


def test_the_version_of_the_directory_is_the_same_in_all_processes_and_changes_with_the_end_of_a_turn(path):
    mine, other = Turn(path), Turn(path)
    before = mine.version
    assert before == other.version == 0
    mine.take()
    mine.begin_change()
    mine.begin_change()
    assert mine.version is other.version is None
    mine.end()
    assert mine.version == other.version == 2
    mine.take()
    mine.end()
    assert other.version == 2
    mine.close()
    other.close()


def test_the_version_stays_unknown_after_a_process_was_killed_until_the_next_turn_ends(path):
    changed = FORK.Event()

    def change():
        turn = Turn(path)
        turn.take()
        turn.begin_change()
        changed.set()
        threading.Event().wait()

    process = FORK.Process(target=change, daemon=True)
    process.start()
    assert changed.wait(PATIENCE)
    process.kill()
    process.join(PATIENCE)
    turn = Turn(path)
    assert turn.version is None
    turn.take()
    turn.end()
    assert turn.version == 2
    turn.close()


def test_the_version_of_the_directory_and_the_version_of_the_keys_change_separately(path):
    turn = Turn(path)
    turn.take()
    turn.begin_change_of_keys()
    assert (turn.version, turn.version_of_keys) == (0, None)
    turn.end()
    turn.take()
    turn.begin_change()
    assert (turn.version, turn.version_of_keys) == (None, 2)
    turn.end()
    assert (turn.version, turn.version_of_keys) == (2, 2)
    turn.close()


@pytest.mark.parametrize("content", [b"", (4).to_bytes(8, sys.byteorder)], ids=["empty", "with one version"])
def test_a_turn_file_with_fewer_versions_gets_the_others_and_keeps_its_own(path, content):
    file = path.with_name(f"{path.name}-turn")
    file.write_bytes(content)
    file.chmod(0o600)
    turn = Turn(path)
    assert (turn.version, turn.version_of_keys) == (4 if content else 0, 0)
    turn.close()


def test_a_store_sees_a_change_that_another_process_made_to_the_owners_of_an_address(path):
    def owners(tx):
        return {key: primary and primary.id for key, (_, primary) in tx.owners(["help@example.com"]).found.items()}

    async def scenario():
        mine, other = sqlite.SqliteStore(path, NoSeal()), sqlite.SqliteStore(path, NoSeal())
        await other.write(make_instance)
        found = [await mine.write(owners)]
        for change in (
            creating("help"),
            creating("support"),
            associating("support", "help"),
            disassociating("support", "help"),
            deleting("help"),
        ):
            await other.write(change)
            found += [await mine.write(owners), await mine.write(owners)]
        own = await mine.write(lambda tx: (creating("help")(tx), owners(tx)))
        await mine.close()
        await other.close()
        return found, own[1]

    there, forwards = {"help@example.com": None}, {"help@example.com": "support"}
    found, own = asyncio.run(scenario())
    assert found == [{}, *[there] * 4, *[forwards] * 2, *[there] * 2, *[{}] * 2]
    assert own == there


def test_a_process_with_a_time_limit_gets_its_turn_from_a_process_that_always_wants_it(path):
    busy, other, is_over = Turn(path), Turn(path), threading.Event()

    def write_always():
        while not is_over.is_set():
            busy.take()
            busy.end()

    writing = threading.Thread(target=write_always)
    writing.start()
    try:
        for _ in range(3):
            with other.taken_within(PATIENCE):
                pass
    finally:
        is_over.set()
        writing.join(PATIENCE)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_process_whose_file_was_removed_does_not_write(path, is_replaced):
    turn, file = Turn(path), path.with_name(f"{path.name}-turn")
    file.unlink()
    if is_replaced:
        Turn(path).close()
    with pytest.raises(OSError, match=r"-turn was removed or replaced\. Restart Waypost\."):
        turn.take()
    with pytest.raises(OSError, match="was removed or replaced"), turn.taken_within(PATIENCE):
        pass


def test_a_store_that_closes_without_its_turn_answers_all_callers(path, monkeypatch):
    set_limits(monkeypatch, other_process=0.05)
    monkeypatch.setattr(sqlite, "BATCH_LIMIT", 3)

    async def scenario():
        store = sqlite.SqliteStore(path, NoSeal())
        store._watch.cancel()
        other = Turn(path)
        other.take()
        waiting = [asyncio.ensure_future(store.write(lambda tx: None)) for _ in range(10)]
        await asyncio.sleep(0)
        await store.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        other.end()
        store._writer.join(PATIENCE)
        assert not store._writer.is_alive()
        return outcomes

    assert {type(outcome) for outcome in asyncio.run(scenario())} == {ports.StoreUnavailable}
