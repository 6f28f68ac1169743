"""Tests that a deadline calls the function that was set last, once, and calls nothing after it was cleared."""

from tests.kit.servers.connection_clock import Clock
from waypost.net.deadlines import Deadline


def test_a_deadline_calls_the_function_that_was_set_last():
    clock, deadline, done = Clock(), Deadline(), []
    deadline.set(clock, 5, done.append, "first")
    deadline.set(clock, 10, done.append, "second")
    assert deadline.is_set
    clock.advance(9)
    assert done == []
    clock.advance(20)
    assert done == ["second"]


def test_a_deadline_that_was_cleared_does_nothing():
    clock, deadline, done = Clock(), Deadline(), []
    deadline.set(clock, 5, done.append, "too late")
    deadline.clear()
    assert not deadline.is_set
    deadline.clear()
    clock.advance(10)
    assert done == []
