"""Tasks in the background do not end unnoticed."""

import asyncio
from functools import partial

import pytest

from tests.kit.patience import until
from waypost.mailauth.checker import Checker
from waypost.observe import events, tasks
from waypost.smtp.backend.aborted_transfers import Leftovers
from waypost.smtp.backend.refusals import Refusals
from waypost.smtp.protocol import replies


def test_an_error_that_ends_a_task_is_logged_at_once_and_a_cancellation_is_not():
    emitted = []

    async def fails():
        raise RuntimeError("a mistake")

    async def waits():
        await asyncio.Event().wait()

    async def scenario():
        failing, waiting = (tasks.start(each, where="x", emit=emitted.append) for each in (fails(), waits()))
        await asyncio.wait([failing])
        await asyncio.sleep(0)
        assert [(event.where, str(event.cause)) for event in emitted] == [("x", "a mistake")]
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert len(emitted) == 1
    assert isinstance(emitted[0], events.Failed)


def test_what_a_mail_server_does_in_the_background_does_not_end_unnoticed():
    emitted = []

    def mistake(*_):
        raise RuntimeError("a mistake")

    async def scenario():
        refusals = Refusals(None, lambda: None, mistake, emitted.append)
        refusals._flush = mistake
        leftovers = Leftovers(None, failed=mistake, emit=emitted.append)
        leftovers.add("a message")
        checker = Checker(start_task=partial(tasks.start, where="authentication", emit=emitted.append))
        checker._probe = mistake
        await checker.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("waypost.smtp.backend.refusals.EVERY", 0)
            refusals.add(None, replies.NO_SUCH_USER, stage="rcpt", peer="192.0.2.1", helo="", sender="")
            await until(lambda: len(emitted) == 3)

    asyncio.run(scenario())
    assert sorted(event.where for event in emitted) == ["authentication", "smtp", "smtp"]
