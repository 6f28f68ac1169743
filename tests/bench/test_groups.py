"""Reading processor time and memory from /proc and from control groups."""

import os

import groups
import pytest
from peers import sinks

STAT = "42 (a (strange) name) S 7 42 42 0 -1 4194560 100 200 0 0 150 50 30 20 20 0 1 0 1000 0 0"


def test_the_processor_time_of_a_process_includes_its_ended_children():
    assert groups.with_ended_children(STAT, ticks=100) == pytest.approx(2.5)


def test_the_name_of_a_process_may_contain_brackets_and_spaces():
    assert groups.with_ended_children(STAT.replace("a (strange) name", ") S 1 ("), ticks=100) == pytest.approx(2.5)


def test_the_processor_time_of_a_control_group_is_in_seconds():
    assert groups.usage("usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n") == 1.5


def test_the_proportional_set_size_is_in_megabytes_of_a_thousand_times_a_thousand_bytes():
    rollup = "55d0-7ffd ---p 0 00:00 0 [rollup]\nRss:  9000 kB\nPss:  1000 kB\nPss_Dirty:  10 kB\n"
    assert groups.pss_of(rollup) == pytest.approx(1.024)
    assert groups.pss_of("") == 0


def test_a_tree_has_all_descendants_and_no_other_process():
    parents = {10: 1, 11: 10, 12: 11, 13: 1, 14: 12, 20: 13}
    assert groups.tree([10], parents) == [10, 11, 12, 14]
    assert groups.tree([13, 20], parents) == [13, 20]


def test_a_tree_read_from_this_machine_has_this_process():
    assert os.getpid() in groups.tree([os.getppid()], groups._parents())


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"", 0),
        (b"sess=0 quit=0 mesg=1\rsess=1 quit=1 mesg=12\r", 12),
        (b"sess=0 quit=0 mesg=12\rsess=1 quit=1 mesg=1", 12),
        (b"ess=1 quit=1 mesg=7\n", 7),
    ],
)
def test_only_complete_counters_of_smtp_sink_count(output, expected):
    assert sinks.counted(output) == expected
