"""The difference between the clocks of a server and of its database is measured, and a large difference is told."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from waypost.app import ports
from waypost.delivery.queue.leases import CLOCKS_MAY_DIFFER, LEASE, RENEW_EVERY
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.observe.tasks import Tasks
from waypost.server.database_clock import EVERY, LOOK_EVERY, WAS_SET, DatabaseClock
from waypost.store.common import time_limits


class Machine:
    """The clocks of a machine, and a store whose database has the right time."""

    def __init__(self):
        self.seconds, self.ahead, self.measured, self.is_down = 1000.0, 0.0, 0, False
        self.told = []
        self.watched = DatabaseClock(
            self, self.told.append, clock=lambda: self.seconds + self.ahead, monotonic=lambda: self.seconds
        )

    async def clock_ahead(self):
        if self.is_down:
            raise ports.StoreUnavailable("it is down")
        self.measured += 1
        return self.ahead

    def after(self, seconds, *, ahead=None):
        """Let time pass, set the clock, and run the next step."""
        self.seconds += seconds
        self.ahead = self.ahead if ahead is None else ahead
        asyncio.run(self.watched.step())
        return self.watched.ahead


def test_the_clock_is_measured_at_the_start_and_every_minute():
    machine = Machine()
    assert machine.watched.ahead is None
    assert machine.after(0) == 0.0
    for _ in range(int(EVERY / LOOK_EVERY) - 1):
        machine.after(LOOK_EVERY)
    assert machine.measured == 1
    machine.after(LOOK_EVERY)
    assert machine.measured == 2


@pytest.mark.parametrize("ahead", [WAS_SET, -WAS_SET, 86_400.0, -86_400.0])
def test_a_clock_that_was_set_is_measured_at_once(ahead):
    machine = Machine()
    machine.after(0)
    assert machine.after(LOOK_EVERY, ahead=ahead) == ahead


@pytest.mark.parametrize("sign", [1, -1])
def test_a_large_difference_is_told_once_and_its_end_too(sign):
    machine = Machine()
    machine.after(0, ahead=sign * CLOCKS_MAY_DIFFER)
    assert machine.told == []
    large = sign * (CLOCKS_MAY_DIFFER + 2)
    machine.after(EVERY, ahead=large)
    machine.after(EVERY)
    assert machine.told == [events.ClockDiffers(ahead=large)]
    assert asyncio.run(machine.watched.may_be_wrong())
    machine.after(EVERY, ahead=0.25)
    machine.after(EVERY)
    assert machine.told == [events.ClockDiffers(ahead=large), events.ClockAgrees(ahead=0.25)]
    assert not asyncio.run(machine.watched.may_be_wrong())


def test_a_clock_that_was_just_set_may_be_wrong_until_it_is_measured():
    machine = Machine()
    machine.is_down = True
    assert asyncio.run(machine.watched.may_be_wrong())  # it was never measured
    machine.is_down = False
    assert not asyncio.run(machine.watched.may_be_wrong())
    machine.ahead = 86_400.0
    assert asyncio.run(machine.watched.may_be_wrong())
    assert machine.measured == 2
    machine.ahead = 0.0
    machine.is_down = True
    machine.seconds += EVERY
    assert asyncio.run(machine.watched.may_be_wrong())
    machine.is_down = False
    assert not asyncio.run(machine.watched.may_be_wrong())


def test_while_the_database_is_down_a_clock_that_was_not_set_is_right():
    machine = Machine()
    machine.after(0)
    machine.is_down = True
    machine.seconds += EVERY
    assert not asyncio.run(machine.watched.may_be_wrong())
    machine.ahead = WAS_SET
    assert asyncio.run(machine.watched.may_be_wrong())


def test_while_the_database_is_down_the_last_measurement_remains_and_the_next_follows_soon():
    machine = Machine()
    machine.after(0, ahead=3.0)
    machine.is_down = True
    assert machine.after(EVERY) == 3.0
    machine.is_down = False
    assert machine.after(LOOK_EVERY, ahead=3.5) == 3.5
    assert machine.told == []


def test_a_store_that_is_a_file_is_not_measured():
    async def scenario():
        async with AsyncExitStack() as opened:
            await machine.watched.start(
                Tasks(Incidents(machine.told.append, of_store=())), opened, has_connections=False
            )
            await asyncio.sleep(0)

    machine = Machine()
    asyncio.run(scenario())
    assert (machine.watched.ahead, machine.measured) == (0.0, 0)


def test_a_lease_survives_clocks_that_differ_as_much_as_they_may_and_a_slow_renewal():
    """One server's clock may be behind by the bound, and another server's ahead."""
    remaining = LEASE.total_seconds() - RENEW_EVERY - 2 * CLOCKS_MAY_DIFFER
    assert remaining >= time_limits.LIMITS.answer
