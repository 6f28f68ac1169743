"""The time of each parser grows linearly: for twice as many bytes, it is at most three times as long."""

import gc
import itertools

import pytest

from tests.work.measure import least
from tests.work.parsers import ROWS
from tests.work.rows import BOUNDS, Parser, Where

pytestmark = [pytest.mark.slow, pytest.mark.long]

LIMIT = 3.0
"""The maximum ratio between the times for an input and for half of it. Linear time is 2, and quadratic time is 4."""

SMALL = 0.000_5
"""Times below this number of seconds are not compared, because constant costs dominate them."""

TRIES = 8


@pytest.fixture(autouse=True)
def _no_garbage_collection():
    """Disable the garbage collector, whose time does not depend on the parser."""
    gc.disable()
    yield
    gc.enable()


def grows_evenly(parser: Parser) -> float:
    """Return the ratio between the times for an input and for an input of half its size; the least of several tries."""
    growth = 0.0
    for times in range(1, TRIES + 1):
        half, whole = (least(parser, size, times=times).whole for size in (parser.limit // 8, parser.limit // 4))
        growth = whole / max(half, SMALL)
        if growth <= LIMIT:
            break
    return growth


@pytest.mark.parametrize("group", sorted({parser.name.partition(":")[0] for parser in ROWS}))
def test_twice_the_input_takes_at_most_three_times_as_long(group):
    grown = {one.name: grows_evenly(one) for one in ROWS if one.name.partition(":")[0] == group}
    assert {name: growth for name, growth in grown.items() if growth > LIMIT} == {}


def test_quadratic_time_is_detected():
    slow = Parser("quadratic", Where.LOOP, 80_000, lambda size: " " * size, lambda text: sum(map(text.count, text)))
    assert any(grows_evenly(slow) > LIMIT for _ in range(5))  # another program may disturb one measurement


def test_each_row_has_a_unique_name_and_can_build_its_inputs():
    names = [parser.name for parser in ROWS]
    assert len(names) == len(set(names))
    for parser, size in itertools.product(ROWS, (10, 1_000)):
        parser.build(size)
    assert set(BOUNDS) == set(Where)
