"""Background tasks: none ends unnoticed, and what follows the error that ended one is as declared."""

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
    """A task that an error ends, as often as it is run, until it has run so often."""

    def __init__(self, error=None, times=1_000):
        self.error, self.times, self.runs = error or RuntimeError("a bug"), times, 0

    async def run(self):
        self.runs += 1
        if self.runs <= self.times:
            raise self.error


async def waits_for_ever():
    await asyncio.Event().wait()


def test_a_task_that_dies_is_logged_and_is_over():
    emitted, failing = [], Failing()

    async def scenario():
        await supervised(emitted.append).start(failing.run, where="x", on_error=OnError.LEAVE)

    asyncio.run(scenario())
    assert failing.runs == 1
    assert [(type(event), event.where, event.cause) for event in emitted] == [(events.Failed, "x", failing.error)]


def test_a_task_that_fails_while_it_is_cancelled_is_not_restarted():
    emitted = []

    async def fails_at_its_end():
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("a bug")

    async def scenario():
        tasks = supervised(emitted.append, pause=0)
        tasks.start(fails_at_its_end, where="x", on_error=OnError.RESTART)
        await asyncio.sleep(0)
        await asyncio.wait_for(tasks.stop(), PATIENCE)

    asyncio.run(scenario())
    assert [(type(event), event.where) for event in emitted] == [(events.Failed, "x")]


def test_a_task_whose_future_is_cancelled_by_others_does_not_end_unnoticed():
    emitted = []

    async def waits_for_what_is_cancelled():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async def scenario():
        tasks = supervised(emitted.append)
        tasks.start(waits_for_what_is_cancelled, where="x", on_error=OnError.END_SERVER)
        return await asyncio.wait_for(tasks.failed(), PATIENCE)

    where, _ = asyncio.run(scenario())
    assert where == "x"
    assert [type(event) for event in emitted] == [events.Failed]


def test_a_task_that_the_store_fails_is_logged_as_a_failure_of_the_store():
    emitted, failing = [], Failing(ports.StoreUnavailable("gone"))

    async def scenario():
        await supervised(emitted.append).start(failing.run, where="x", on_error=OnError.LEAVE)

    asyncio.run(scenario())
    assert [type(event) for event in emitted] == [events.StoreFailed]


def test_a_task_that_dies_is_run_again_after_a_pause_and_each_death_is_logged():
    emitted, failing = [], Failing(times=3)

    async def scenario():
        await supervised(emitted.append, pause=0).start(failing.run, where="x", on_error=OnError.RESTART)

    asyncio.run(scenario())
    assert failing.runs == 4
    assert len(emitted) == 3


def test_a_task_that_is_stopped_in_its_pause_is_not_run_again():
    emitted, failing = [], Failing()

    async def scenario():
        tasks = supervised(emitted.append, pause=1_000)
        tasks.start(failing.run, where="x", on_error=OnError.RESTART)
        await until(lambda: emitted)
        await tasks.stop()

    asyncio.run(scenario())
    assert failing.runs == 1


def test_a_task_that_the_server_needs_ends_the_server_when_it_dies():
    emitted, failing = [], Failing()

    async def scenario():
        tasks = supervised(emitted.append)
        tasks.start(waits_for_ever, where="y", on_error=OnError.END_SERVER)
        tasks.start(failing.run, where="x", on_error=OnError.END_SERVER)
        async with asyncio.timeout(PATIENCE):
            found = await tasks.failed()
        await tasks.stop()
        return found

    where, incident = asyncio.run(scenario())
    assert (where, failing.runs) == ("x", 1)
    assert [event.id for event in emitted] == [incident.id]


@pytest.mark.parametrize("on_error", OnError)
def test_a_task_that_comes_to_its_end_or_is_cancelled_is_no_failure(on_error):
    emitted = []

    async def scenario():
        tasks = supervised(emitted.append)
        await tasks.start(Failing(times=0).run, where="x", on_error=on_error)
        cancelled = tasks.start(waits_for_ever, where="x", on_error=on_error)
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        tasks.start(waits_for_ever, where="x", on_error=on_error)
        left = tasks.start(waits_for_ever, where="x", on_error=on_error)
        await tasks.stop()
        assert left.cancelled()
        assert not tasks._has_failed.is_set()

    asyncio.run(scenario())
    assert emitted == []


def test_what_a_mail_server_does_in_the_background_does_not_end_unnoticed():
    emitted = []

    def mistake(*_):
        raise RuntimeError("a mistake")

    async def scenario():
        tasks = supervised(emitted.append, pause=1_000)
        refusals = Refusals(None, lambda: None, mistake, tasks)
        refusals._flush = mistake
        aborted_transfers = AbortedTransfers(None, failed=mistake, tasks=tasks)
        aborted_transfers.add("a message")
        start_task = partial(tasks.start, where="authentication", on_error=OnError.RESTART)
        checker = Checker(start_task=start_task)
        checker._probe = mistake
        await checker.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("waypost.smtp.backend.refusals.EVERY", 0)
            refusals.add(None, replies.NO_SUCH_USER, stage="rcpt", peer="192.0.2.1", helo="", sender="")
            await until(lambda: len(emitted) == 3)
        await tasks.stop()

    asyncio.run(scenario())
    assert sorted(event.where for event in emitted) == ["authentication", "smtp", "smtp"]
