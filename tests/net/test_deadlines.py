"""A deadline does what it was set to last, once, and nothing after it was cleared."""

from tests.kit.servers.connection_clock import Clock
from waypost.net.deadlines import Deadline


def test_a_deadline_does_what_it_was_set_to_last():
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
