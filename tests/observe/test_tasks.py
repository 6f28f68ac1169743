"""Background tasks: an error that ends a task is always logged, and the reaction to it is as declared."""

import asyncio
from functools import partial

import pytest

from tests.kit.patience import PATIENCE, until
from tests.kit.supervised import supervised
from waypost.app import ports
from waypost.mailauth.checker import Checker
from waypost.observe import events
from waypost.observe.tasks import OnError
from waypost.smtp.backend.aborted_transfers import AbortedTransfers
from waypost.smtp.backend.refusals import Refusals
from waypost.smtp.protocol import replies


class Failing:
    """A task that fails with an error in each of its first `times` runs."""

    def __init__(self, error=None, times=1_000):
        self.error, self.times, self.runs = error or RuntimeError("a bug"), times, 0

    async def run(self):
        self.runs += 1
        if self.runs <= self.times:
            raise self.error


async def never_ends():
    await asyncio.Event().wait()


def test_a_task_that_fails_is_logged_and_not_restarted():
    emitted, failing = [], Failing()

    async def scenario():
        await supervised(emitted.append).start(failing.run, where="x", on_error=OnError.LEAVE)

    asyncio.run(scenario())
    assert failing.runs == 1
    assert [(type(event), event.where, event.cause) for event in emitted] == [(events.Failed, "x", failing.error)]


def test_a_task_that_fails_while_it_is_cancelled_is_not_restarted():
    emitted = []

    async def fails_when_cancelled():
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("a bug")

    async def scenario():
        tasks = supervised(emitted.append, pause=0)
        tasks.start(fails_when_cancelled, where="x", on_error=OnError.RESTART)
        await asyncio.sleep(0)
        await asyncio.wait_for(tasks.stop(), PATIENCE)

    asyncio.run(scenario())
    assert [(type(event), event.where) for event in emitted] == [(events.Failed, "x")]


def test_a_task_that_ends_because_its_future_was_cancelled_is_logged():
    emitted = []

    async def waits_for_a_cancelled_future():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async def scenario():
        tasks = supervised(emitted.append)
        tasks.start(waits_for_a_cancelled_future, where="x", on_error=OnError.END_SERVER)
        return await asyncio.wait_for(tasks.failed(), PATIENCE)

    where, _ = asyncio.run(scenario())
    assert where == "x"
    assert [type(event) for event in emitted] == [events.Failed]


def test_a_store_error_that_ends_a_task_is_logged_as_a_failure_of_the_store():
    emitted, failing = [], Failing(ports.StoreUnavailable("gone"))

    async def scenario():
        await supervised(emitted.append).start(failing.run, where="x", on_error=OnError.LEAVE)

    asyncio.run(scenario())
    assert [type(event) for event in emitted] == [events.StoreFailed]


def test_a_task_that_fails_is_restarted_after_a_pause_and_each_failure_is_logged():
    emitted, failing = [], Failing(times=3)

    async def scenario():
        await supervised(emitted.append, pause=0).start(failing.run, where="x", on_error=OnError.RESTART)

    asyncio.run(scenario())
    assert failing.runs == 4
    assert len(emitted) == 3


def test_a_task_that_is_stopped_during_its_pause_is_not_restarted():
    emitted, failing = [], Failing()

    async def scenario():
        tasks = supervised(emitted.append, pause=1_000)
        tasks.start(failing.run, where="x", on_error=OnError.RESTART)
        await until(lambda: emitted)
        await tasks.stop()

    asyncio.run(scenario())
    assert failing.runs == 1


def test_the_server_ends_if_a_task_that_it_needs_fails():
    emitted, failing = [], Failing()

    async def scenario():
        tasks = supervised(emitted.append)
        tasks.start(never_ends, where="y", on_error=OnError.END_SERVER)
        tasks.start(failing.run, where="x", on_error=OnError.END_SERVER)
        async with asyncio.timeout(PATIENCE):
            found = await tasks.failed()
        await tasks.stop()
        return found

    where, incident = asyncio.run(scenario())
    assert (where, failing.runs) == ("x", 1)
    assert [event.id for event in emitted] == [incident.id]


@pytest.mark.parametrize("on_error", OnError)
def test_a_task_that_completes_or_is_cancelled_is_not_a_failure(on_error):
    emitted = []

    async def scenario():
        tasks = supervised(emitted.append)
        await tasks.start(Failing(times=0).run, where="x", on_error=on_error)
        cancelled = tasks.start(never_ends, where="x", on_error=on_error)
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        tasks.start(never_ends, where="x", on_error=on_error)
        left = tasks.start(never_ends, where="x", on_error=on_error)
        await tasks.stop()
        assert left.cancelled()
        assert not tasks._has_failed.is_set()

    asyncio.run(scenario())
    assert emitted == []


def test_errors_in_the_background_tasks_of_the_mail_edge_are_logged():
    emitted = []

    def fails(*_):
        raise RuntimeError("a bug")

    async def scenario():
        tasks = supervised(emitted.append, pause=1_000)
        refusals = Refusals(None, lambda: None, fails, tasks)
        refusals._flush = fails
        aborted_transfers = AbortedTransfers(None, failed=fails, tasks=tasks)
        aborted_transfers.add("a message")
        start_task = partial(tasks.start, where="authentication", on_error=OnError.RESTART)
        checker = Checker(start_task=start_task)
        checker._probe = fails
        await checker.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("waypost.smtp.backend.refusals.EVERY", 0)
            refusals.add(None, replies.NO_SUCH_USER, stage="rcpt", peer="192.0.2.1", helo="", sender="")
            await until(lambda: len(emitted) == 3)
        await tasks.stop()

    asyncio.run(scenario())
    assert sorted(event.where for event in emitted) == ["authentication", "smtp", "smtp"]
