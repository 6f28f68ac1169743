"""Tests that guessing addresses is slow, from one address or one network, over all sessions, for any answer."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.servers.smtp_server import HELLO, FakeStore, on_both_loops, reset, serving
from waypost.app import limit_state
from waypost.app.limit_state import OwnState
from waypost.domain.directory import addresses
from waypost.observe import events
from waypost.smtp.backend.reception import Reception
from waypost.smtp.limits.guessing import GROWTH, LONGEST_WAIT, SIZES, Guessing
from waypost.smtp.protocol import replies
from waypost.smtp.protocol.requests import RecipientGiven

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
FREE, STEP = SIZES[0].free.burst, SIZES[0].longest_step


def guess(guessing, peer, now, count=1):
    """Send unknown recipients, each after the reply to the previous one.

    Returns the time of the last reply, and the delay of each reply in seconds.
    """
    waits = []
    for _ in range(count):
        wait = guessing.wait(peer, now)
        waits.append(wait)
        now += timedelta(seconds=wait or 0)
        guessing.count(peer, now)
    return now, waits


def test_after_some_unknown_recipients_each_further_one_increases_the_delay():
    guesses = Guessing(OwnState())
    now, waits = guess(guesses, "192.0.2.1", NOW, FREE)
    assert waits == [0.0] * FREE
    guesses.count("192.0.2.1", now)
    _, waits = guess(guesses, "192.0.2.1", now, 100)
    assert waits[:40] == sorted(waits[:40])
    assert waits[0] == pytest.approx(STEP * GROWTH, rel=0.01)
    assert waits[45:] == pytest.approx([STEP] * 55, rel=0.05)


def test_the_delay_is_the_same_for_an_existing_address():
    guesses = Guessing(OwnState())
    now, _ = guess(guesses, "192.0.2.1", NOW, FREE + 30)
    unknown = guesses.wait("192.0.2.1", now)
    then = now + timedelta(seconds=unknown)
    known = guesses.wait("192.0.2.1", then)  # the previous recipient was not counted as unknown
    assert known == pytest.approx(unknown, rel=0.02)


def test_a_client_that_makes_occasional_mistakes_is_never_delayed():
    guesses = Guessing(OwnState())
    for minute in range(600):
        _, waits = guess(guesses, "192.0.2.1", NOW + timedelta(minutes=minute), 5)
        assert waits == [0.0] * 5


def test_the_delay_ends_after_a_client_has_sent_no_unknown_recipients_for_some_time():
    guesses = Guessing(OwnState())
    now, _ = guess(guesses, "192.0.2.1", NOW, 500)
    assert guesses.wait("192.0.2.1", now)
    over = 1 / GROWTH
    assert guesses.wait("192.0.2.1", now + timedelta(seconds=(over + 1) / SIZES[0].free.per_second)) == 0.0


@pytest.mark.parametrize(
    ("peer", "same", "neighbour", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.200", "192.0.3.1"),
        ("2001:db8:1:2::3", "2001:db8:1:2:4:5:6:7", "2001:db8:1:3::3", "2001:db8:2::"),
        ("fe80::1%eth0", "fe80::1", "fe80:0:0:1::1", "fe81::1"),
    ],
)
def test_a_network_has_one_count_and_its_surrounding_network_has_a_higher_limit(peer, same, neighbour, other):
    guesses = Guessing(OwnState())
    now, _ = guess(guesses, peer, NOW, FREE + 41)
    assert guesses.wait(same, now)
    assert guesses.wait(neighbour, now) == guesses.wait(other, now) == 0.0
    for _ in range(SIZES[1].free.burst + 41):
        guesses.count(peer, now)
    assert guesses.wait(neighbour, now) == pytest.approx(SIZES[1].longest_step, rel=0.05)
    assert guesses.wait(other, now) == 0.0


def test_a_client_with_many_connections_gets_its_replies_one_after_the_other_and_then_none():
    guesses = Guessing(OwnState())
    for _ in range(FREE + 100):
        guesses.count("192.0.2.1", NOW)
    waits = [guesses.wait("192.0.2.1", NOW) for _ in range(1_000)]
    row = [wait for wait in waits if wait is not None]
    assert row == pytest.approx([STEP * (place + 1) for place in range(int(LONGEST_WAIT / STEP))])
    assert waits[len(row) :] == [None] * (1_000 - len(row))


@settings(max_examples=examples(30), deadline=None)
@given(connections=st.integers(1, 100), hosts=st.integers(1, 256), seconds=st.integers(1, 300))
def test_the_number_of_answered_guesses_does_not_depend_on_the_number_of_connections(connections, hosts, seconds):
    guesses, answered = Guessing(OwnState()), 0
    due = [(0.0, number) for number in range(connections)]
    while due:
        at, number = heapq.heappop(due)
        peer, now = f"192.0.2.{number % hosts}", NOW + timedelta(seconds=at)
        wait = guesses.wait(peer, now)
        if wait is not None:
            guesses.count(peer, now)
            answered += 1
        again = at + (wait if wait is not None else 1) + 0.05
        if again < seconds:
            heapq.heappush(due, (again, number))
    of_a_host, of_all = (
        size.free.burst + 1 / GROWTH + connections + 1.1 * seconds * (1 / size.longest_step + size.free.per_second)
        for size in SIZES
    )
    assert answered <= min(of_all, min(hosts, connections) * of_a_host)


@pytest.mark.parametrize("clock_back", [0, 3600])
def test_memory_is_limited_and_no_client_is_locked_out_if_the_clock_is_set_back(monkeypatch, clock_back):
    monkeypatch.setattr(limit_state, "MOST_TIMES", 10)
    guesses = Guessing(OwnState())
    for number in range(200):
        for _ in range(FREE + 5):
            guesses.count(f"10.0.{number}.1", NOW)
        guesses.wait(f"10.0.{number}.1", NOW)
    for book in guesses._books:
        assert len(book._last_reply._times) <= 10
        assert len(book._unknown._full_at._times) <= 10
    wait = guesses.wait("10.0.199.1", NOW - timedelta(seconds=clock_back))
    assert wait is None or 0 < wait <= LONGEST_WAIT


def test_a_refusal_without_a_lookup_is_logged():
    async def scenario():
        async with serving() as served:
            for _ in range(FREE + 100):
                served.backend.admission._guessing.count("192.0.2.1", served.backend.clock())
            waits = []

            async def pause(seconds):
                waits.append(seconds)

            reception = Reception(served.backend, peer="192.0.2.1", trusted=False)
            asked = RecipientGiven(addresses.parse("support@example.com"))
            answers = [await reception.answer(asked, pause) for _ in range(30)]
            count = len(waits)
            assert answers == [replies.RECIPIENT_OK] * count + [replies.TOO_MANY_UNKNOWN] * (30 - count)
            assert 0 < count < 30
            assert len(served.emitted_of(events.RecipientRefused)) == 30 - count

    asyncio.run(scenario())


def exceed_the_free_guesses(served):
    """Count so many unknown recipients from loopback that its replies are delayed."""
    for _ in range(FREE + 100):
        served.backend.admission._guessing.count("127.0.0.1", served.backend.clock())


async def until_replies_are_delayed(served, count=1):
    await served.until(lambda: sum(each._pausing is not None for each in served.server._connections) == count)


@on_both_loops
async def test_pipelined_commands_are_answered_in_order_and_replies_before_the_delay_are_sent_immediately():
    async with serving() as served, served.client() as client:
        exceed_the_free_guesses(served)
        client.say(*HELLO[:2], "RCPT TO:<no@example.com>", HELLO[2], "RCPT TO:<no@example.com>", "NOOP", "QUIT")
        assert [line[:9] for line in await client.hear_until("250 2.1.0")][-1] == "250 2.1.0"
        for expected in ("550 5.1.1", "250 2.1.5", "550 5.1.1"):
            await until_replies_are_delayed(served)
            assert served.server.busy == 0
            served.clock.advance(STEP - 0.001)
            assert served.server._connections
            await until_replies_are_delayed(served)
            served.clock.advance(LONGEST_WAIT)
            assert (await client.hear())[:9] == expected
        assert [line[:3] for line in await client.hear_all()] == ["250", "221"]


@on_both_loops
async def test_a_client_that_disconnects_during_the_delay_leaves_nothing_behind():
    async with serving() as served:
        exceed_the_free_guesses(served)
        async with served.client() as client:
            client.say(*HELLO[:3])
            await until_replies_are_delayed(served)
            reset(client.writer)
        await served.until_nobody_is_connected()
        assert served.server.busy == 0


@on_both_loops
async def test_a_server_that_stops_does_not_wait_for_delayed_replies():
    async with serving() as served, served.client() as client:
        exceed_the_free_guesses(served)
        client.say(*HELLO[:3])
        await until_replies_are_delayed(served)
        await served.stop()
        assert (await client.hear_all())[-1].startswith("421 4.3.2 ")


@on_both_loops
async def test_a_trusted_client_at_the_same_address_is_not_delayed():
    store = FakeStore()
    async with serving(store) as served:
        exceed_the_free_guesses(served)
        async with served.client() as slow, served.client() as other:
            slow.say(*HELLO[:3])
            await until_replies_are_delayed(served)
            (quick,) = [each for each in served.server._connections if each._pausing is None]
            quick._reception._in_trusted_network = True
            other.say(*HELLO, "Hello.", ".", "QUIT")
            assert any(line.endswith(" accepted") for line in await other.hear_all())
