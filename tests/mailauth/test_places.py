"""Places are given out immediately or in turn, and a holder cannot use up the places of other holders."""

import asyncio

import pytest

from waypost.domain.limits import shares
from waypost.mailauth.places import Ledger, NoPlace, Places

ONE, OTHER, THIRD = (shares.of_address(address) for address in ("192.0.2.1", "198.51.100.1", "203.0.113.1"))


class Holder:
    """Waits for places, and holds them until `release` is called."""

    def __init__(self, places, holders, amount=1):
        self._released = asyncio.Event()
        self.has = asyncio.Event()
        self.task = asyncio.create_task(self._hold(places, holders, amount))

    async def _hold(self, places, holders, amount):
        async with places.of(holders, amount):
            self.has.set()
            await self._released.wait()

    async def release(self):
        self._released.set()
        await self.task


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


async def holding(places, holders, count):
    found = [Holder(places, holders) for _ in range(count)]
    await settled()
    return found


def test_a_holder_that_has_used_up_its_share_waits_but_other_holders_do_not():
    async def main():
        places = Places(4)
        first = await holding(places, ONE, 3)
        assert [each.has.is_set() for each in first] == [True, True, False]
        (other,) = await holding(places, OTHER, 1)
        assert other.has.is_set()
        await first[0].release()
        await settled()
        assert first[2].has.is_set()
        for each in (*first[1:], other):
            await each.release()
        assert places.free == 4

    asyncio.run(main())


def test_a_place_goes_to_the_longest_waiting_holder_with_a_share_left():
    async def main():
        places = Places(2)
        (first,) = await holding(places, ONE, 1)
        (second,) = await holding(places, OTHER, 1)
        mine, theirs = (await holding(places, ONE, 1))[0], (await holding(places, THIRD, 1))[0]
        await second.release()
        await settled()
        assert (mine.has.is_set(), theirs.has.is_set()) == (False, True)
        await first.release()
        await settled()
        assert mine.has.is_set()
        await mine.release()
        await theirs.release()

    asyncio.run(main())


def test_the_number_of_waiting_requests_is_limited_per_network_and_in_total():
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
            await each.release()
        assert places.free == 1

    asyncio.run(main())


def test_large_amounts_wait_until_enough_is_free():
    async def main():
        room = Places(100)
        first, second = Holder(room, ONE, 40), Holder(room, ONE, 40)
        other, third = Holder(room, OTHER, 40), Holder(room, THIRD, 40)
        await settled()
        held = [each.has.is_set() for each in (first, second, other, third)]
        assert held == [True, False, True, False]
        await first.release()
        await settled()
        assert (second.has.is_set(), third.has.is_set()) == (True, False)
        await other.release()
        await settled()
        assert third.has.is_set()
        await third.release()
        await second.release()
        assert room.free == 100

    asyncio.run(main())


def test_a_request_that_is_cancelled_at_any_moment_keeps_no_place():
    async def main():
        places = Places(1)
        for turns in range(8):
            (first,) = await holding(places, ONE, 1)
            waiting = [Holder(places, OTHER), Holder(places, THIRD)]
            await settled()
            releasing = asyncio.create_task(first.release())
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting[0].task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting[0].task
            await releasing
            await settled()
            assert waiting[1].has.is_set()
            await waiting[1].release()
            assert places.free == 1

    asyncio.run(main())


def test_places_are_given_back_after_an_exception():
    async def fail(places):
        async with places.of(ONE):
            raise ZeroDivisionError

    async def main():
        places = Places(4)
        with pytest.raises(ZeroDivisionError):
            await fail(places)
        assert places.free == 4

    asyncio.run(main())


def test_a_ledger_forgets_holders_without_places():
    ledger = Ledger(4)
    ledger.take(ONE, 2)
    assert not ledger.allows(ONE)
    ledger.give_back(ONE, 2)
    assert (ledger.free, dict(ledger._held)) == (4, {})
