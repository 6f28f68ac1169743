"""Long work in small steps: each step is a separate transaction, and begins where the previous step ended."""

import asyncio

import pytest

from waypost.app.steps import Step, repeat_step, run_steps


class Transactions:
    """Runs use cases like `Store.write`, and counts the transactions."""

    def __init__(self):
        self.count = 0

    async def write(self, use_case, **_):
        self.count += 1
        return use_case(self)


def all_steps(write, step):
    async def scenario():
        return [done async for done in run_steps(write, step)]

    return asyncio.run(scenario())


@pytest.mark.parametrize(("number", "pages"), [(0, 1), (1, 1), (3, 1), (4, 2), (9, 3)])
def test_each_step_begins_where_the_previous_step_ended(number, pages):
    transactions, work = Transactions(), list(range(number))

    def step(tx, position):
        assert tx is transactions
        begin = position or 0
        done = work[begin : begin + 3]
        return Step(done, begin + 3 if begin + 3 < number else None)

    found = all_steps(transactions.write, step)
    assert [each for page in found for each in page] == work
    assert transactions.count == len(found) == pages


def test_a_falsy_position_does_not_end_the_work():
    asked = []

    def step(_, position):
        asked.append(position)
        return Step(1, "" if position is None else None)

    assert all_steps(Transactions().write, step) == [1, 1]
    assert asked == [None, ""]


def test_work_can_be_stopped_after_any_step():
    transactions = Transactions()

    async def scenario():
        async for done in run_steps(transactions.write, lambda _, position: Step(position, (position or 0) + 1)):
            if done == 2:
                break

    asyncio.run(scenario())
    assert transactions.count == 3


def test_a_step_is_repeated_until_it_returns_zero():
    transactions, left = Transactions(), [3, 3, 1, 0]
    assert asyncio.run(repeat_step(transactions.write, lambda _: left.pop(0))) == 7
    assert transactions.count == 4


def test_a_step_is_repeated_until_it_returns_false():
    transactions, more = Transactions(), [True, True, False]
    asyncio.run(repeat_step(transactions.write, lambda _: more.pop(0)))
    assert transactions.count == 3
