"""The turns of accounts, for any sequence of searches that arrive, end and are cancelled."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.store.common.turns import Turns

STEPS = st.lists(st.tuples(st.sampled_from(["come", "end", "cancel"]), st.integers(0, 30)), max_size=60)


def order_of_turns(slots, accounts, *, working=()):
    """Return the order in which waiting accounts get their turns, if the working reads end one after the other."""

    async def scenario():
        turns, order = Turns(slots), []
        for account in working:
            await turns.take(account)

        async def come(account):
            await turns.take(account)
            order.append(account)

        tasks = [asyncio.create_task(come(account)) for account in accounts]
        await asyncio.sleep(0)
        ending = [*working, *order]
        while ending:
            turns.leave(ending.pop(0))
            seen = len(order)
            for _ in range(3):
                await asyncio.sleep(0)
            ending += order[seen:]
        await asyncio.gather(*tasks)
        return "".join(order)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("slots", "accounts", "working", "order"),
    [
        (1, "aaa", "x", "aaa"),
        (1, "aaaab", "a", "abaaa"),
        (1, "aaabbbc", "a", "abcabab"),
        (1, "baaa", "a", "baaa"),
        (2, "aaab", "a", "baaa"),  # one account cannot have both slots
        (4, "aaaab", "", "aaaba"),
    ],
)
def test_accounts_take_turns(slots, accounts, working, order):
    assert order_of_turns(slots, accounts, working=working) == order


class Searches:
    """Searches of three accounts: the tasks that wait, and the accounts of the searches that have a slot."""

    def __init__(self, slots):
        self.slots, self.turns = slots, Turns(slots)
        self.waiting, self.working = {}, []

    def come(self, which):
        number = object()
        self.waiting[number] = asyncio.create_task(self._come(number, f"{which % 3}"))

    async def _come(self, number, account):
        await self.turns.take(account)
        del self.waiting[number]
        self.working.append(account)

    def end(self, which):
        if self.working:
            self.turns.leave(self.working.pop(which % len(self.working)))

    def cancel(self, which):
        if self.waiting:
            self.waiting.pop([*self.waiting][which % len(self.waiting)]).cancel()

    async def settle(self):
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(self.working) <= self.slots


@given(slots=st.integers(1, 4), steps=STEPS)
def test_no_slot_is_lost_and_no_slot_is_assigned_twice(slots, steps):
    async def scenario():
        searches = Searches(slots)
        for step, which in steps:
            getattr(searches, step)(which)
            if which % 2:  # otherwise several steps happen before the event loop runs
                await searches.settle()
        for _ in steps:
            await searches.settle()
            searches.end(0)
        await searches.settle()
        assert not searches.waiting
        assert not searches.working
        await asyncio.gather(*[searches.turns.take(str(account)) for account in range(slots)])  # all slots are free

    asyncio.run(scenario())
