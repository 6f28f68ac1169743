"""Many slow searches of one account do not delay the searches of another account for long."""

import asyncio
import threading

from tests.kit.patience import PATIENCE


def test_many_waiting_searches_of_one_account_do_not_delay_another_account(store):
    begun, is_open, modest_begun = [], threading.Event(), threading.Event()
    waited_in_vain = threading.Event()

    def greedy(_):
        begun.append(None)
        order = len(begun)
        is_open.wait(PATIENCE)
        # With one search at a time, the first search of the greedy account runs, and its second may come next.
        if order > 2 and not waited_in_vain.is_set() and not modest_begun.wait(PATIENCE / 4):
            waited_in_vain.set()

    async def scenario():
        many = [
            asyncio.create_task(store.store.long_read(greedy, account="greedy", what="the data of a test"))
            for _ in range(20)
        ]
        await asyncio.sleep(0)
        one = asyncio.create_task(
            store.store.long_read(lambda _: modest_begun.set(), account="modest", what="the data of a test")
        )
        await asyncio.sleep(0)
        is_open.set()
        await asyncio.gather(*many, one, return_exceptions=True)

    store.run(scenario())
    assert modest_begun.is_set()
    assert not waited_in_vain.is_set()  # with a single queue, all greedy searches would run first


def test_a_cancelled_search_does_not_use_up_a_turn(store):
    begun, is_open = [], threading.Event()

    def search_of(name):
        def search(_):
            begun.append(name)
            is_open.wait(PATIENCE)

        return store.store.long_read(search, account="one", what="the data of a test")

    async def scenario():
        tasks = {name: asyncio.create_task(search_of(name)) for name in range(20)}
        await asyncio.sleep(0)
        for name in range(10, 19):
            tasks[name].cancel()
        await asyncio.sleep(0)
        is_open.set()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    store.run(scenario())
    assert sorted(begun) == [*range(10), 19]
