"""The queue is read for the metrics without delay, and a long queue is read less often."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from waypost.app import ports
from waypost.domain.mail import messages
from waypost.observe.incidents import Incidents
from waypost.observe.metrics import families
from waypost.observe.tasks import Tasks
from waypost.server.backlogs import SHARE, Backlogs

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def id_of(age):
    return messages.new_id(NOW - age, 0, bytes(8))


class Store:
    """A store whose long reads take `seconds` on a clock that is moved by hand."""

    def __init__(self):
        self.found, self.error, self.seconds, self.now, self.reads = [], None, 0.0, 0.0, 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def long_read(self, use_case, *, what):
        self.reads += 1
        await self.may_answer.wait()
        self.now += self.seconds
        if self.error:
            raise self.error
        return use_case(self)

    def backlogs(self):
        return self.found


def run(test):
    async def main():
        store, emitted = Store(), []
        tasks = Tasks(Incidents(emitted.append, of_store=()))
        backlogs = Backlogs(store, lambda: NOW, tasks, monotonic=lambda: store.now, patience=0.01)
        try:
            await test(store, backlogs)
        finally:
            await tasks.stop()
        return emitted

    return asyncio.run(main())


def of(samples, family):
    return {labels[0]: value for each, labels, value in samples if each is family}


def test_destinations_of_the_same_kind_count_together():
    async def test(store, backlogs):
        hour = timedelta(hours=1)
        store.found = [
            ports.Backlog("smtp://one.example:25", 3, id_of(hour)),
            ports.Backlog("smtps://two.example", 2, id_of(2 * hour)),
            ports.Backlog("mx:example.com", 1, id_of(-hour)),
        ]
        samples = await backlogs.samples()
        counts, ages = of(samples, families.QUEUE_DELIVERIES), of(samples, families.QUEUE_AGE)
        assert (counts["smtp"], counts["mx"], counts["webhook"]) == (5, 1, 0)
        assert (ages["smtp"], ages["mx"], ages["webhook"]) == (7200, 0, 0)

    assert run(test) == []


def test_a_long_queue_is_read_less_often():
    async def test(store, backlogs):
        store.seconds = 0.5
        await backlogs.samples()
        store.now += SHARE * 0.5 - 0.1
        await backlogs.samples()
        assert store.reads == 1
        store.now += 0.2
        await backlogs.samples()
        assert store.reads == 2

    run(test)


def test_a_slow_reading_delays_nobody_and_its_result_is_shown_later():
    async def test(store, backlogs):
        store.may_answer.clear()
        store.found = [ports.Backlog("smtp://one.example:25", 3, id_of(timedelta()))]
        assert await backlogs.samples() == []
        assert await backlogs.samples() == []
        assert store.reads == 1
        store.may_answer.set()
        assert of(await backlogs.samples(), families.QUEUE_DELIVERIES)["smtp"] == 3

    run(test)


@pytest.mark.parametrize("error", [ports.StoreUnavailable("down"), ports.TookTooLong("the queue", 5)])
def test_if_the_queue_cannot_be_read_it_has_no_values(error):
    async def test(store, backlogs):
        await backlogs.samples()
        store.error = error
        assert await backlogs.samples() == []
        store.error = None
        assert await backlogs.samples()

    assert run(test) == []
