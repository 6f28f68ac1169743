"""Durations in settings, such as 90s or 7d."""

from datetime import timedelta

import pytest

from waypost.domain import durations


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800), ("0s", 0)])
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    assert durations.parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "7", "d", "7w", "7 d", "-1d", "1.5h", "1h30m", "7d\n", "٧d", "1" * 10 + "s"])
def test_text_that_is_not_a_duration_is_refused(text):
    assert durations.parse(text) is None


@pytest.mark.parametrize("text", ["1s", "90s", "5m", "90m", "4h", "36h", "5d", "3650d"])
def test_a_duration_is_written_in_the_form_in_which_it_is_read(text):
    assert durations.written(durations.parse(text)) == text
