"""Tasks in the background do not end unnoticed."""

import asyncio

from waypost import events, tasks


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
