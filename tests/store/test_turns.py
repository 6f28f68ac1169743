"""Whose turn it is, for any order of searches that come, end and are cancelled."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.store.turns import Turns

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


@given(places=st.integers(1, 4), steps=STEPS)
def test_no_place_is_lost_and_none_is_given_twice(places, steps):
    async def scenario():
        turns = Turns(places)
        at_work, waiting = [], {}

        async def come(number, account):
            await turns.take(account)
            del waiting[number]
            at_work.append(account)

        for number, (step, which) in enumerate(steps):
            if step == "come":
                waiting[number] = asyncio.create_task(come(number, f"{which % 3}"))
            elif step == "end" and at_work:
                turns.leave(at_work.pop(which % len(at_work)))
            elif step == "cancel" and waiting:
                waiting.pop([*waiting][which % len(waiting)]).cancel()
            if which % 2:  # or several things happen in the same moment
                for _ in range(3):
                    await asyncio.sleep(0)
                assert len(at_work) <= places
        for _ in range(len(steps) + 3):
            await asyncio.sleep(0)
            if at_work:
                turns.leave(at_work.pop())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not waiting
        assert turns._free == places - len(at_work)
        assert not turns._waiting

    asyncio.run(scenario())
