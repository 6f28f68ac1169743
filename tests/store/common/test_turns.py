"""Whose turn it is, for any order of searches that come, end and are cancelled."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.store.common.turns import Turns

STEPS = st.lists(st.tuples(st.sampled_from(["come", "end", "cancel"]), st.integers(0, 30)), max_size=60)


def in_turn(places, comers, *, at_work=()):
    """The order in which comers have their turns, if one of those at work after the other ends."""

    async def scenario():
        turns, order = Turns(places), []
        for account in at_work:
            await turns.take(account)

        async def come(account):
            await turns.take(account)
            order.append(account)

        tasks = [asyncio.create_task(come(account)) for account in comers]
        await asyncio.sleep(0)
        ending = [*at_work, *order]
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
    ("places", "comers", "at_work", "order"),
    [
        (1, "aaa", "x", "aaa"),
        (1, "aaaab", "a", "abaaa"),
        (1, "aaabbbc", "a", "abcabab"),
        (1, "baaa", "a", "baaa"),
        (2, "aaab", "a", "baaa"),  # one account cannot have both places
        (4, "aaaab", "", "aaaba"),
    ],
)
def test_accounts_have_their_turns(places, comers, at_work, order):
    assert in_turn(places, comers, at_work=at_work) == order


class Searches:
    """Searches of three accounts: those that wait, and the accounts of those that have a place."""

    def __init__(self, places):
        self.places, self.turns = places, Turns(places)
        self.waiting, self.at_work = {}, []

    def come(self, which):
        number = object()
        self.waiting[number] = asyncio.create_task(self._come(number, f"{which % 3}"))

    async def _come(self, number, account):
        await self.turns.take(account)
        del self.waiting[number]
        self.at_work.append(account)

    def end(self, which):
        if self.at_work:
            self.turns.leave(self.at_work.pop(which % len(self.at_work)))

    def cancel(self, which):
        if self.waiting:
            self.waiting.pop([*self.waiting][which % len(self.waiting)]).cancel()

    async def settle(self):
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(self.at_work) <= self.places


@given(places=st.integers(1, 4), steps=STEPS)
def test_no_place_is_lost_and_none_is_given_twice(places, steps):
    async def scenario():
        searches = Searches(places)
        for step, which in steps:
            getattr(searches, step)(which)
            if which % 2:  # or several things happen in the same moment
                await searches.settle()
        for _ in steps:
            await searches.settle()
            searches.end(0)
        await searches.settle()
        assert not searches.waiting
        assert not searches.at_work
        await asyncio.gather(*[searches.turns.take(str(account)) for account in range(places)])  # all are free

    asyncio.run(scenario())
