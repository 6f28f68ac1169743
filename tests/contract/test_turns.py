"""Searches of one account, however many and however slow, hold up no other account for long."""

import asyncio
import threading

from tests.patience import PATIENCE


def test_an_account_with_many_searches_waiting_lets_another_one_have_its_turn(store):
    begun, is_open = [], threading.Event()

    def search_of(account):
        def search(_):
            begun.append(account)
            is_open.wait(PATIENCE)

        return store.store.search(search, account=account)

    async def scenario():
        greedy = [asyncio.create_task(search_of("greedy")) for _ in range(20)]
        await asyncio.sleep(0)
        modest = asyncio.create_task(search_of("modest"))
        await asyncio.sleep(0)
        is_open.set()
        await asyncio.gather(*greedy, modest)

    store.run(scenario())
    assert len(begun) == 21
    assert begun.index("modest") <= 5  # with one queue for all it would be the last


def test_who_does_not_wait_any_more_takes_no_turn(store):
    begun, is_open = [], threading.Event()

    def search_of(name):
        def search(_):
            begun.append(name)
            is_open.wait(PATIENCE)

        return store.store.search(search, account="one")

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
