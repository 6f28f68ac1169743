"""When a worker process that has ended is replaced, and when the server stops instead."""

import pytest

from waypost.server.supervisor.restarts import (
    AT_ONCE,
    LONGEST_PAUSE,
    MOST,
    MOST_FAILED_STARTS,
    PAUSE,
    PERIOD,
    SOON,
    pause_after_failed_start,
    pause_before_restart,
)

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


@pytest.mark.parametrize(
    ("failed", "others_work", "pause"),
    [
        (1, False, PAUSE),
        (2, False, 2 * PAUSE),
        (3, True, 4 * PAUSE),
        (MOST_FAILED_STARTS, False, 8.0),
        (MOST_FAILED_STARTS + 1, False, None),
        (MOST_FAILED_STARTS + 1, True, LONGEST_PAUSE),
        (10_000, True, LONGEST_PAUSE),
    ],
)
def test_a_worker_process_that_cannot_start_is_retried_less_and_less_often(failed, others_work, pause):
    assert pause_after_failed_start(failed, others_work=others_work) == pause
