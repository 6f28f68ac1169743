"""The number of deliveries that are claimed for a destination: never more than the limit, and never negative."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.values import NOW
from waypost.delivery.queue.destinations import AHEAD, Lane, Lanes
from waypost.domain.mail.delivery import Decision, Then

PAUSE = timedelta(minutes=1)
WORKED = Decision(then=Then.DELIVERED, status="2.0.0", because="")
GONE = Decision(
    then=Then.RETRY, status="4.4.1", because="", at=NOW + timedelta(seconds=30), is_of_destination=True
)  # fmt: skip


def learn(lane, decision, connections=10):
    lane.learn(decision, connections=connections, now=NOW, pause=PAUSE)


def test_a_new_destination_gets_one_attempt_and_more_with_each_success():
    lane = Lane("x")
    assert lane.wanted(100) == 1
    found = []
    for _ in range(5):
        learn(lane, WORKED)
        found.append((lane.room, lane.wanted(100)))
    assert found == [(room, room + AHEAD) for room in (2, 4, 8, 10, 10)]


def test_a_destination_whose_route_allows_one_connection_gets_one_attempt_at_a_time():
    lane = Lane("x")
    learn(lane, WORKED, connections=1)
    assert (lane.room, lane.is_working, lane.wanted(100)) == (1, True, 1 + AHEAD)


def test_a_failed_destination_gets_one_attempt_after_the_pause():
    lane = Lane("x")
    learn(lane, WORKED)
    learn(lane, GONE)
    assert (lane.room, lane.is_working, lane.paused_until, lane.wanted(100)) == (1, False, GONE.at, 1)
    learn(lane, WORKED)
    assert lane.paused_until is None


def test_a_pause_that_began_before_the_clock_was_set_back_ends_after_the_longest_pause():
    lane = Lane("x")
    learn(lane, GONE)
    back = NOW - timedelta(hours=1)
    assert lane.paused(back, at_most=PAUSE) == back + PAUSE
    assert lane.paused(back + PAUSE / 2, at_most=PAUSE) == back + PAUSE


@given(
    decisions=st.lists(st.sampled_from([WORKED, GONE])),
    running=st.integers(0, 30),
    pending=st.integers(0, 2 * AHEAD),
    free=st.integers(-5, 100),
    connections=st.integers(1, 50),
)
def test_the_number_of_deliveries_to_claim_is_never_negative_and_never_above_the_limit(
    decisions, running, pending, free, connections
):
    lane = Lane("x")
    for decision in decisions:
        learn(lane, decision, connections)
    lane.running, lane.pending = running, type(lane.pending)(range(pending))
    assert 0 <= lane.wanted(free) <= max(1, lane.room) + AHEAD
    assert free > 0 or lane.wanted(free) == 0


def test_destinations_without_waiting_or_claimed_mail_are_dropped():
    lanes = Lanes()
    lanes.of("busy").running, lanes.of("held").pending = 1, type(Lane("x").pending)([1])
    lanes.of("works").is_working = True
    lanes.of("works").running = 3
    lanes.of("idle")
    assert lanes.running_for_unknown == 1
    lanes.keep_only(["waits"])
    assert sorted(lanes._lanes) == ["busy", "held", "works"]
    assert lanes.of("held").next() == 1
    assert lanes.of("held").next() is None
    assert lanes.of("held").give_up_pending() == []


def test_a_destination_that_worked_is_remembered_when_no_mail_waits_for_it():
    lanes = Lanes()
    learn(lanes.of("works"), WORKED)
    learn(lanes.of("fails"), GONE)
    lanes.keep_only([])
    assert (lanes.of("works").is_working, lanes.of("fails").is_working, lanes.of("new").is_working) == (
        True,
        False,
        False,
    )
    learn(lanes.of("works"), GONE)
    lanes.keep_only([])
    assert not lanes.of("works").is_working


def test_the_destination_that_worked_longest_ago_is_forgotten_first(monkeypatch):
    monkeypatch.setattr("waypost.delivery.queue.destinations.REMEMBERED", 2)
    lanes = Lanes()
    for name in ("a", "b", "a", "c"):
        learn(lanes.of(name), WORKED)
        lanes.keep_only([])
    assert [lanes.of(name).is_working for name in "abc"] == [True, False, True]


def test_mail_that_new_routes_move_to_another_destination_is_claimed_in_large_parts():
    lane = Lane("x", leads_elsewhere=True)
    assert lane.wanted(100) == 1 + AHEAD
