"""Statistics of the benchmark, and the amounts that it measures."""

import cases
import cores
import figures
import probe
import pytest
import rounds
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([3.0], 99, 3.0),
        ([1, 2, 3, 4], 50, 2),
        (range(1, 101), 99, 99),
        (range(1, 201), 99, 198),
        ([5, 1, 4, 2, 3], 100, 5),
        ([5, 1, 4, 2, 3], 0, 1),
    ],
)
def test_a_percentile_is_the_nearest_rank(values, percent, expected):
    assert figures.percentile(list(values), percent) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_at_least_that_percentage_of_the_values_is_not_above_a_percentile(values, percent):
    found = figures.percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values) - 1e-6


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds():
    assert figures.ratio_of([10, 20, 90], [10, 10, 10]) == 2


def test_a_round_that_one_server_did_not_finish_is_not_in_the_ratio():
    assert figures.ratio_of([10, 20, 30], [10]) == 1


def test_each_server_is_first_in_one_round_of_a_cycle():
    assert [rounds.turned("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert rounds.turned([], 1) == []


@pytest.mark.parametrize(
    ("case", "per_second", "expected"),
    [("kept", 1000, 2000), ("kept", 1, 40), ("kept", 1e6, 20_000), ("1m", 500, 80), ("one", 0.1, 2)],
)
def test_a_slow_server_gets_fewer_messages_so_that_runs_take_as_long(case, per_second, expected):
    (found,) = [one for one in cases.CASES if one.id == case]
    assert cases.amount(found, per_second, 2.0) == expected


def test_each_case_changes_one_condition_of_the_base_case():
    def conditions(case):
        return (case.size, case.sessions, case.kept, case.path)

    for case in cases.CASES:
        changed = sum(a != b for a, b in zip(conditions(case), conditions(cases.BASE), strict=True))
        assert changed == (0 if case is cases.BASE else 1), case.id
    assert {"kept", "each"} == set(cases.QUICK) <= {case.id for case in cases.CASES}


@pytest.mark.parametrize("usable", [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], list(range(16)), [3, 5, 7]])
def test_generators_share_no_core_with_servers_if_there_are_more_than_two(usable):
    found = cores.divided(usable)
    assert found.shared == (len(usable) <= 2)
    assert found.generators | found.servers == set(usable)
    assert found.generators
    assert found.servers
    assert len(found.servers) >= len(found.generators)


def test_response_times_are_from_the_middle_of_a_load():
    timed = [(10.5, 1.0), (11.0, 2.0), (15.0, 3.0), (19.0, 4.0), (19.5, 5.0)]
    assert probe.within(timed, 10, 20) == [2.0, 3.0, 4.0]
    assert probe.within([(10.1, 1.0)], 10, 20) == [1.0]
