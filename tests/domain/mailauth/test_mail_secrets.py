"""The generations of the secrets that sign rewritten senders and loop tokens."""

from datetime import timedelta

from tests.kit.values import NOW
from waypost.domain.mailauth import mail_secrets, srs
from waypost.domain.mailauth.mail_secrets import ACCEPTED, LEAD, in_force, read, rotated, written

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
PERIOD = (NOW.date().toordinal() - 719163) // srs.PERIOD_DAYS


def derived(period):
    return b"of %d" % period


FIRST = mail_secrets.first(NOW, b"loop", derived)
ONE = rotated((FIRST,), root=b"1" * 32, now=NOW)
TWO = rotated(ONE, root=b"2" * 32, now=NOW + DAY)


def test_the_first_generation_has_the_keys_that_are_derived_from_the_master_key():
    assert in_force((FIRST,), NOW) == mail_secrets.Accepted(FIRST, ())
    assert FIRST.loop_key == b"loop"
    for period in (PERIOD - 1, PERIOD, PERIOD + 1):
        assert FIRST.srs_key(period) == derived(period)


def test_a_period_that_was_not_recorded_has_a_key_that_nobody_has_used():
    unknown = {FIRST.srs_key(PERIOD - 2), FIRST.srs_key(PERIOD + 2)}
    assert len(unknown) == 2
    assert all(len(key) == 32 for key in unknown)


def test_a_new_generation_is_accepted_at_once_and_signs_later():
    new = ONE[-1]
    assert in_force(ONE, NOW) == mail_secrets.Accepted(FIRST, (new,))
    assert in_force(ONE, NOW + LEAD - SECOND).signing == FIRST
    assert in_force(ONE, NOW + LEAD) == mail_secrets.Accepted(new, (FIRST,))


def test_a_replaced_generation_is_accepted_for_as_long_as_a_rewritten_sender_is_valid():
    end = NOW + LEAD + ACCEPTED
    assert in_force(ONE, end - SECOND).others == (FIRST,)
    assert in_force(ONE, end).others == ()
    assert timedelta(days=srs.VALID_DAYS) < ACCEPTED


def test_several_generations_can_be_accepted_and_old_ones_are_forgotten():
    first, second, third = TWO
    assert in_force(TWO, NOW + DAY + LEAD) == mail_secrets.Accepted(third, (first, second))
    later = NOW + LEAD + ACCEPTED
    assert in_force(TWO, later).others == (second,)
    assert [one.root for one in rotated(TWO, root=b"3" * 32, now=later)] == [b"2" * 32 if one is third else one.root
        for one in (second, third)] + [b"3" * 32]  # fmt: skip


def test_two_rotations_in_a_row_are_in_order():
    twice = rotated(ONE, root=b"2" * 32, now=NOW + SECOND)
    assert [one.begins_at for one in twice[1:]] == [NOW + LEAD, NOW + LEAD + SECOND]
    assert in_force(twice, NOW + SECOND).signing == FIRST
    assert set(map(id, in_force(twice, NOW + LEAD).others)) == {id(twice[0]), id(twice[2])}


def test_a_clock_before_the_first_generation_uses_the_oldest():
    assert in_force(ONE[1:], NOW - DAY).signing == ONE[1]


def test_the_secrets_of_a_generation_differ_from_those_of_others_and_of_other_periods():
    keys = {one.srs_key(period) for one in TWO for period in (PERIOD, PERIOD + 1)} | {one.loop_key for one in TWO}
    assert len(keys) == 9


def test_generations_are_written_and_read():
    assert read(written(TWO)) == TWO
    assert [one.srs_key(PERIOD) for one in read(written(TWO))] == [one.srs_key(PERIOD) for one in TWO]
