"""Which mail an inbox keeps, by age and by total size."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.domain.directory import addresses
from waypost.domain.mail import messages, retention
from waypost.domain.mail.retention import Delivered, Rule

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ADDRESS = addresses.parse("Support@Example.com")

OLD = Rule("*", age=30 * DAY)
SMALL = Rule("*", size=100)


def inbox(*mail):
    """Deliveries with `size` or `(size, days ago)`, newest first. The id of each is its index."""
    pairs = [each if isinstance(each, tuple) else (each, 0) for each in mail]
    return [Delivered(str(place), NOW - ago * DAY, size, kept=True) for place, (size, ago) in enumerate(pairs)]


def deleted(rule, delivered, **options):
    """The indexes of the deliveries that must be deleted."""
    return [int(delivery.message_id) for delivery in retention.to_delete(rule, delivered, now=NOW, **options)[0]]


@pytest.mark.parametrize("match", ["support@example.com", "*@example.com", "instance:i", "*"])
def test_a_rule_can_match_an_address_a_domain_an_instance_or_everything(match):
    assert retention.find([Rule(match)], ADDRESS, "i") == Rule(match)


@pytest.mark.parametrize("match", ["other@example.com", "*@sub.example.com", "*@ample.com", "instance:j"])
def test_a_rule_for_other_addresses_does_not_match(match):
    assert retention.find([Rule(match)], ADDRESS, "i") is None


def test_the_first_matching_rule_applies():
    rules = [Rule("instance:j"), Rule("*@example.com", age=DAY), Rule("support@example.com", size=1), Rule("*")]
    assert retention.find(rules, ADDRESS, "i") == rules[1]
    assert retention.find(rules[2:], ADDRESS, "i") == rules[2]


def test_no_rule_for_an_instance_matches_a_deleted_email_address():
    rules = [Rule("instance:i"), Rule("instance:None"), Rule("instance:"), Rule("*")]
    assert retention.find(rules, ADDRESS, None) == rules[-1]


@pytest.mark.parametrize(
    ("ago", "is_deleted"),
    [
        (timedelta(0), False),
        (30 * DAY - timedelta(milliseconds=1), False),
        (30 * DAY, False),
        (30 * DAY + timedelta(milliseconds=1), True),
        (10_000 * DAY, True),
        (-DAY, False),
    ],
    ids=str,
)
def test_mail_older_than_the_rule_allows_is_deleted(ago, is_deleted):
    delivery = Delivered("m", NOW - ago, 5, kept=True)
    assert retention.to_delete(OLD, [delivery], now=NOW)[0] == [delivery] * is_deleted


@pytest.mark.parametrize(
    ("sizes", "indexes"),
    [
        ([], []),
        ([100], []),
        ([50, 50], []),
        ([50, 51], [1]),
        ([50, 51, 1], [1, 2]),  # a message that would fit is deleted, too
        ([101], []),  # the newest message is kept
        ([101, 0], [1]),
        ([0, 101], [1]),
        ([0, 0, 98], []),
        ([40, 30, 20, 10, 1], [4]),
    ],
    ids=str,
)
def test_all_mail_from_the_first_message_that_does_not_fit_is_deleted_except_the_newest(sizes, indexes):
    assert deleted(SMALL, inbox(*sizes)) == indexes


def test_the_limits_of_age_and_size_both_apply():
    mail = inbox((60, 1), (30, 2), (9, 31), (10, 3), (1, 4), (1, 40))
    assert deleted(Rule("*", age=30 * DAY, size=100), mail) == [2, 4, 5]
    assert deleted(Rule("*", age=30 * DAY), mail) == [2, 5]
    assert deleted(Rule("*"), mail) == []


def test_mail_that_the_inbox_did_not_keep_has_no_size_and_is_deleted_only_by_age():
    elsewhere = [Delivered("0", NOW, 500, kept=False), Delivered("1", NOW - 31 * DAY, 500, kept=False)]
    assert deleted(SMALL, elsewhere) == []
    assert deleted(OLD, elsewhere) == [1]
    assert retention.to_delete(SMALL, elsewhere, now=NOW)[1] == 0


@pytest.mark.parametrize("age", [(NOW - datetime.fromtimestamp(0, UTC)), timedelta.max])
def test_an_age_that_reaches_back_before_1970_keeps_all_mail(age):
    rule = Rule("*", age=age)
    assert deleted(rule, inbox((5, 20_000))) == []
    assert retention.first_cursor(rule, NOW) == ""


def test_the_search_begins_with_the_newest_mail_that_may_be_too_old():
    begin = retention.first_cursor(OLD, NOW)
    for ago in (timedelta(milliseconds=1), DAY):
        assert messages.new_id(NOW - 30 * DAY - ago, 4095, b"\xff" * 8) < begin
        assert messages.new_id(NOW - 30 * DAY + ago, 0, bytes(8)) > begin
    assert messages.new_id(NOW - 30 * DAY, 0, bytes(8)) >= begin


def test_the_search_begins_with_the_newest_mail_for_a_size_limit_and_is_skipped_without_a_limit():
    for rule in (SMALL, Rule("*", age=DAY, size=1)):
        assert retention.first_cursor(rule, NOW) > messages.new_id(NOW + 9_999 * DAY, 4095, b"\xff" * 8)
    assert retention.first_cursor(Rule("*"), NOW) == ""


MAIL = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), max_size=30).map(lambda mail: inbox(*mail))
RULES = st.builds(
    Rule,
    st.just("*"),
    age=st.none() | st.integers(1, 40).map(timedelta),
    size=st.none() | st.integers(1, 200),
)


@given(RULES, MAIL, st.integers(1, 5))
def test_the_same_mail_is_deleted_in_batches_as_in_one_call(rule, mail, step):
    whole, octets = retention.to_delete(rule, mail, now=NOW)
    parts, newer = [], 0
    for start in range(0, len(mail), step):
        removed, newer = retention.to_delete(rule, mail[start : start + step], now=NOW, newer=newer)
        parts += removed
    assert (parts, newer) == (whole, octets)


@given(RULES, MAIL)
def test_exactly_the_mail_that_is_young_enough_and_fits_is_kept(rule, mail):
    removed = retention.to_delete(rule, mail, now=NOW)[0]
    kept = [delivery for delivery in mail if delivery not in removed]
    young = [delivery for delivery in mail if rule.age is None or delivery.received_at >= NOW - rule.age]
    assert kept == young[: len(kept)]
    if rule.size is not None and len(kept) > 1:
        assert sum(delivery.size for delivery in kept) <= rule.size
    if len(kept) < len(young):
        assert rule.size is not None
        assert kept
        assert sum(max(delivery.size, 1) for delivery in young[: len(kept) + 1]) > rule.size


@given(RULES, MAIL)
def test_mail_that_is_kept_once_is_kept_the_next_time(rule, mail):
    removed = retention.to_delete(rule, mail, now=NOW)[0]
    kept = [delivery for delivery in mail if delivery not in removed]
    assert retention.to_delete(rule, kept, now=NOW)[0] == []
