"""Places: given out at once or in turn, and nobody can use up those of others."""

import asyncio

import pytest

from waypost.domain.limits import shares
from waypost.mailauth.places import Ledger, NoPlace, Places

ONE, OTHER, THIRD = (shares.of_address(address) for address in ("192.0.2.1", "198.51.100.1", "203.0.113.1"))


class Holder:
    """Holds places, or waits for them, until told to let go."""

    def __init__(self, places, holders, amount=1):
        self._let_go = asyncio.Event()
        self.has = asyncio.Event()
        self.task = asyncio.create_task(self._hold(places, holders, amount))

    async def _hold(self, places, holders, amount):
        async with places.of(holders, amount):
            self.has.set()
            await self._let_go.wait()

    async def let_go(self):
        self._let_go.set()
        await self.task


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


async def holding(places, holders, count):
    found = [Holder(places, holders) for _ in range(count)]
    await settled()
    return found


def test_who_has_a_share_waits_and_others_do_not():
    async def main():
        places = Places(4)
        first = await holding(places, ONE, 3)
        assert [each.has.is_set() for each in first] == [True, True, False]
        (other,) = await holding(places, OTHER, 1)
        assert other.has.is_set()
        await first[0].let_go()
        await settled()
        assert first[2].has.is_set()
        for each in (*first[1:], other):
            await each.let_go()
        assert places.free == 4

    asyncio.run(main())


def test_a_place_goes_to_who_has_waited_longest_of_those_who_may_have_it():
    async def main():
        places = Places(2)
        (first,) = await holding(places, ONE, 1)
        (second,) = await holding(places, OTHER, 1)
        mine, theirs = (await holding(places, ONE, 1))[0], (await holding(places, THIRD, 1))[0]
        await second.let_go()
        await settled()
        assert (mine.has.is_set(), theirs.has.is_set()) == (False, True)
        await first.let_go()
        await settled()
        assert mine.has.is_set()
        await mine.let_go()
        await theirs.let_go()

    asyncio.run(main())


def test_only_so_many_wait_of_one_network_and_in_all():
    async def main():
        places = Places(1, waiting=4)
        held = await holding(places, ONE, 3)
        with pytest.raises(NoPlace) as refused:
            async with places.of(ONE):
                pass
        assert refused.value.is_own_share
        others = await holding(places, OTHER, 1) + await holding(places, THIRD, 1)
        with pytest.raises(NoPlace) as refused:
            async with places.of(OTHER):
                pass
        assert not refused.value.is_own_share
        for each in (*held, *others):
            await each.let_go()
        assert places.free == 1

    asyncio.run(main())


def test_large_amounts_wait_until_there_is_room():
    async def main():
        room = Places(100)
        first, second = Holder(room, ONE, 40), Holder(room, ONE, 40)
        other, third = Holder(room, OTHER, 40), Holder(room, THIRD, 40)
        await settled()
        held = [each.has.is_set() for each in (first, second, other, third)]
        assert held == [True, False, True, False]
        await first.let_go()
        await settled()
        assert (second.has.is_set(), third.has.is_set()) == (True, False)
        await other.let_go()
        await settled()
        assert third.has.is_set()
        await third.let_go()
        await second.let_go()
        assert room.free == 100

    asyncio.run(main())


def test_who_goes_away_at_any_moment_takes_no_place_along():
    async def main():
        places = Places(1)
        for turns in range(8):
            (first,) = await holding(places, ONE, 1)
            waiting = [Holder(places, OTHER), Holder(places, THIRD)]
            await settled()
            letting_go = asyncio.create_task(first.let_go())
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting[0].task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting[0].task
            await letting_go
            await settled()
            assert waiting[1].has.is_set()
            await waiting[1].let_go()
            assert places.free == 1

    asyncio.run(main())


def test_places_are_given_back_whatever_happens():
    async def fail(places):
        async with places.of(ONE):
            raise ZeroDivisionError

    async def main():
        places = Places(4)
        with pytest.raises(ZeroDivisionError):
            await fail(places)
        assert places.free == 4

    asyncio.run(main())


def test_a_ledger_forgets_who_holds_nothing():
    ledger = Ledger(4)
    ledger.take(ONE, 2)
    assert not ledger.allows(ONE)
    ledger.give_back(ONE, 2)
    assert (ledger.free, dict(ledger._held)) == (4, {})
