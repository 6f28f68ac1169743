"""When a worker process that has ended is replaced, and when the server stops instead."""

import pytest

from waypost.server.supervisor.restarts import AT_ONCE, MOST, PAUSE, PERIOD, SOON, pause_before_restart

NOW = 1_000.0


@pytest.mark.parametrize(
    ("ends", "pause"),
    [
        ([NOW], 0.0),
        ([NOW] * AT_ONCE, 0.0),
        ([NOW] * (AT_ONCE + 1), PAUSE),
        ([NOW - SOON] * 10 + [NOW], 0.0),
        ([NOW] * MOST, PAUSE),
        ([NOW] * (MOST + 1), None),
        ([NOW - PERIOD] * 100 + [NOW], 0.0),
        ([NOW - PERIOD + 1] * MOST + [NOW], None),
    ],
)
def test_a_worker_process_is_replaced_within_a_second_unless_too_many_have_ended(ends, pause):
    assert pause_before_restart(ends, NOW) == pause


def test_a_replacement_never_waits_for_a_second():
    assert PAUSE < 1
