"""Rewritten senders (SRS), and the bounces that come back to them."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.domain.directory import addresses
from waypost.domain.mail import messages
from waypost.domain.mailauth import srs
from waypost.domain.mailauth.srs import Returned

NOW = datetime(2026, 11, 22, 23, 14, 5, 678000, tzinfo=UTC)
ID = messages.new_id(NOW, 5, b"\xa5" * 8)
SPAN = {"first_id": "01a20589-c8ee-7005-8000-000000000000", "last_id": "01a20589-c8ee-7005-bfff-ffffffffffff"}
OTHERS = "HHHH=TT=example.net=bob"
"""The part after `SRS0=` in an address that another server rewrote."""


def a_key(period):
    return f"the secret of period {period}".encode()


def rewritten(sender, *, now=NOW, message_id=ID, key_of=a_key):
    return srs.rewrite(sender, domain="fwd.example", message_id=message_id, now=now, key_of=key_of)


def local_part_of(sender, **changes):
    return rewritten(sender, **changes).rpartition("@")[0]


def returned(local_part, *, now=NOW, key_of=a_key):
    """The contents of an address that `rewrite` returned, if its signature is valid and it has not expired."""
    is_signed = srs.find_signer(local_part, [key_of], now=now) is not None
    return srs.claims(local_part) if is_signed else None


def test_the_null_sender_is_not_rewritten():
    assert rewritten("") == ""


SENDERS = [
    ("ann@example.org", r"SRS0=[A-Z2-7]{20}=[A-Z2-7]{2}=example\.org=ann", "ann@example.org"),
    ("Ann.Lee@Example.ORG", r"SRS0=[A-Z2-7]{20}=[A-Z2-7]{2}=Example\.ORG=Ann\.Lee", "Ann.Lee@Example.ORG"),
    ("a=b+c-d@example.org", r"SRS0=.{20}=..=example\.org=a=b\+c-d", "a=b+c-d@example.org"),
    ('"ann.lee"@example.org', r"SRS0=.{20}=..=example\.org=ann\.lee", "ann.lee@example.org"),
    (f"SRS0={OTHERS}@one.test", r"SRS1=[A-Z2-7]{22}=one\.test==HHHH=TT=example\.net=bob",
     f"SRS0={OTHERS}@one.test"),
    (f"srs0+{OTHERS}@one.test", r"SRS1=.{22}=one\.test=\+HHHH=TT=example\.net=bob",
     f"SRS0+{OTHERS}@one.test"),
    ("SRS0-h=t=x.example=b@first.example", r"SRS1=.{22}=first\.example=-h=t=x\.example=b",
     "SRS0-h=t=x.example=b@first.example"),
    ("SRS1=HHHH=one.example==h=t=x.test=b@two.example", r"SRS1=.{22}=one\.example==h=t=x\.test=b",
     "SRS0=h=t=x.test=b@one.example"),
    ("Srs1+HHHH=one.example=+h=t=x.test=b@two.example", r"SRS1=.{22}=one\.example=\+h=t=x\.test=b",
     "SRS0+h=t=x.test=b@one.example"),
    ("SRS1-nothing@two.example", r"SRS0=.{20}=..=two\.example=SRS1-nothing", "SRS1-nothing@two.example"),
    ("SRS0@two.example", r"SRS0=.{20}=..=two\.example=SRS0", "SRS0@two.example"),
]  # fmt: skip


@pytest.mark.parametrize(("sender", "shape", "comes_back_to"), SENDERS)
def test_a_rewritten_sender_contains_the_message_and_the_sender(sender, shape, comes_back_to):
    local_part = local_part_of(sender)

    assert re.fullmatch(shape, local_part)
    assert returned(local_part) == Returned(**SPAN, sender=comes_back_to)


OPAQUE_SENDERS = [
    "a.sender.with.a.long.name@a.domain.that.is.long.example",
    f"SRS0={OTHERS}@a.forwarder.with.a.long.name.example",
    "jörg@example.org",
    "ann@bücher.example",
    '"ann lee"@example.org',
    '"ann\\"lee"@example.org',
    '""@example.org',
    '"@example.org',
    "ann@[192.0.2.1]",
    "postmaster",
    "ann@example=org",
    "@example.org",
    "ann..lee@example.org",
]


@pytest.mark.parametrize("sender", OPAQUE_SENDERS)
def test_a_sender_that_does_not_fit_gets_the_opaque_form_with_the_message_only(sender):
    address = rewritten(sender)

    assert re.fullmatch(r"waypost-bounce=[A-Z2-7]{34}=[A-Z2-7]{2}@fwd\.example", address)
    assert returned(address.rpartition("@")[0]) == Returned(first_id=ID, last_id=ID, sender=None)


def test_a_local_part_has_at_most_64_bytes():
    domain = "d" * 25 + ".example"
    assert len(local_part_of(f"a@{domain}")) == 64
    assert local_part_of(f"ab@{domain}").startswith("waypost-bounce=")


def test_a_sender_that_is_rewritten_repeatedly_does_not_grow_and_keeps_the_first_server():
    sender = "SRS0=HHHH=TT=a.test=ann@one.test"
    second = srs.rewrite(sender, domain="two.test", message_id=ID, now=NOW, key_of=a_key)
    third = srs.rewrite(second, domain="three.test", message_id=ID, now=NOW, key_of=lambda _: b"another")

    assert second.startswith("SRS1=")
    assert len(third.rpartition("@")[0]) == len(second.rpartition("@")[0])
    assert returned(third.rpartition("@")[0], key_of=lambda _: b"another").sender == sender


def test_a_sender_that_another_waypost_rewrote_is_too_long_and_gets_the_opaque_form():
    assert local_part_of(rewritten("ann@a.test")).startswith("waypost-bounce=")


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
@pytest.mark.parametrize(
    "sender", ["Ann@Example.org", "SRS0=h=t=x.test=b@first.example", "jörg@example.org"], ids=["SRS0", "SRS1", "opaque"]
)
def test_a_mail_system_may_change_the_case_of_a_rewritten_sender(sender, change):
    local_part = local_part_of(sender)
    came_back, as_it_was = returned(change(local_part)), returned(local_part)

    assert (came_back.first_id, came_back.last_id) == (as_it_was.first_id, as_it_was.last_id)
    assert (came_back.sender or "").lower() == (as_it_was.sender or "").lower()


@pytest.mark.parametrize("separator", ["+", "-"])
def test_another_separator_after_the_first_word_is_accepted(separator):
    local_part = local_part_of("ann@example.org").replace("=", separator, 1)
    assert returned(local_part).sender == "ann@example.org"


@pytest.mark.parametrize("days", [0, 1, 29, 30])
def test_a_rewritten_sender_accepts_bounces_for_thirty_days(days):
    later = NOW + timedelta(days=days)
    for sender in ("ann@example.org", f"SRS0={OTHERS}@one.test", "jörg@example.org"):
        assert returned(local_part_of(sender), now=later) is not None


@pytest.mark.parametrize("days", [31, 60, 500, 1022])
def test_a_rewritten_sender_expires_after_thirty_days(days):
    later = NOW + timedelta(days=days)
    for sender in ("ann@example.org", f"SRS0={OTHERS}@one.test", "jörg@example.org"):
        assert returned(local_part_of(sender), now=later) is None


def test_a_clock_that_is_slow_by_one_day_is_tolerated_but_not_by_two_days():
    local_part = local_part_of("ann@example.org")
    assert returned(local_part, now=NOW - timedelta(days=1)) is not None
    assert returned(local_part, now=NOW - timedelta(days=2)) is None


def test_the_date_in_a_rewritten_sender_selects_the_secret():
    end_of_period = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=30 * 700 - 1)
    next_day = end_of_period + timedelta(days=1)
    asked = []

    def key_of(period):
        asked.append(period)
        return a_key(period)

    local_part = local_part_of("ann@example.org", now=end_of_period, key_of=key_of)
    assert returned(local_part, now=next_day, key_of=key_of) is not None
    assert returned(local_part_of("ann@example.org", now=next_day), now=end_of_period, key_of=key_of) is not None
    assert asked == [699, 699, 700]


@given(days=st.integers(0, 60_000), age=st.integers(-1, 30))
def test_only_secrets_of_the_current_and_adjacent_periods_are_used(days, age):
    now = NOW + timedelta(days=days)
    asked = []

    def key_of(period):
        asked.append(period)
        return b"k"

    local_part = local_part_of("ann@example.org", now=now - timedelta(days=age), key_of=lambda _: b"k")
    assert returned(local_part, now=now, key_of=key_of) is not None
    today = (now - datetime(1970, 1, 1, tzinfo=UTC)).days // 30
    assert asked[0] in {today - 1, today, today + 1}


FORGED = [
    "ann",
    "SRS0",
    "SRS0=",
    "SRS0=HHHH=TT=example.org=ann",
    "SRS0=" + "A" * 20 + "=AA=example.org=ann",
    "SRS1=" + "A" * 22 + "=example.org==h=t=x=b",
    "SRS1=HHHH=example.org==h=t=x=b",
    "waypost-bounce=" + "A" * 34 + "=AA",
    "waypost-bounce=" + "7" * 34 + "=77",
    "waypost-bounce+" + "A" * 34 + "=AA",
    "waypost-bounce=short",
    "ſRS0=" + "A" * 20 + "=AA=example.org=ann",
    "SRS0=" + "A" * 20 + "=AA=example.org=ann\n",
]


@pytest.mark.parametrize("local_part", FORGED)
def test_a_forged_or_foreign_address_is_not_accepted(local_part):
    assert returned(local_part) is None


@pytest.mark.parametrize(
    "sender", ["ann@example.org", "SRS0=h=t=x.test=b@first.example", "jörg@example.org"], ids=["SRS0", "SRS1", "opaque"]
)
def test_an_address_with_any_character_changed_is_not_accepted(sender):
    local_part = local_part_of(sender)
    for position, character in enumerate(local_part):
        if position == 4 and character == "=":
            continue  # the first separator may be another one
        changed = local_part[:position] + ("x" if character not in "xX" else "y") + local_part[position + 1 :]
        assert returned(changed) is None


def test_an_address_with_a_look_alike_letter_is_not_accepted():
    assert returned(local_part_of("ann@example.org").replace("S", "ſ", 1)) is None


def test_an_address_with_another_secret_is_not_accepted():
    assert returned(local_part_of("ann@example.org"), key_of=lambda _: b"another") is None


def test_the_signature_of_one_form_is_not_valid_for_another_form():
    local_part = local_part_of("ann@example.org")
    assert returned(local_part.replace("SRS0", "SRS1")) is None


ATOMS = st.text("abzABZ0129!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=20)
DOMAINS = st.from_regex(r"[a-z0-9]{1,10}(\.[a-z]{1,8}){0,2}", fullmatch=True)
PLAIN = st.builds("{}@{}".format, st.lists(ATOMS, min_size=1, max_size=3).map(".".join), DOMAINS)
THEIRS = st.builds("{}{}{}@{}".format, st.sampled_from(["SRS0", "srs1"]), st.sampled_from("=+-"), ATOMS, DOMAINS)
SOME_SENDER = PLAIN | THEIRS | st.text(min_size=1, max_size=30).map("{}@example.org".format) | st.text(min_size=1)


@given(SOME_SENDER)
def test_any_sender_is_rewritten_to_a_valid_address_that_is_accepted_back(sender):
    address = rewritten(sender)

    assert addresses.parse(address).text == address
    assert len(address.rpartition("@")[0]) <= 64
    assert srs.claims(address.rpartition("@")[0]) is not None
    assert returned(address.rpartition("@")[0]) is not None


@given(PLAIN, st.integers(0, 2**48 - 1), st.integers(0, 4095), st.binary(min_size=8, max_size=8))
def test_the_id_of_the_message_is_in_the_range_that_the_address_gives(sender, milliseconds, number, random):
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds % 2**47)
    message_id = messages.new_id(moment, number, random)
    found = returned(local_part_of(sender, message_id=message_id))

    assert found.first_id <= message_id <= found.last_id
    assert found.sender in {sender, None} or found.sender.startswith("SRS0")
    if found.sender is not None:
        assert {found.first_id[:18], found.last_id[:18]} == {message_id[:18]}


@given(st.text(max_size=80))
def test_an_arbitrary_local_part_is_not_accepted(local_part):
    assert returned(local_part) is None
    srs.claims(local_part)


@given(st.text("ABab27=+-@.", max_size=60), st.sampled_from(["SRS0=", "SRS1=", "waypost-bounce="]))
def test_an_arbitrary_local_part_that_begins_like_a_rewritten_sender_is_not_accepted(rest, kind):
    assert returned(kind + rest) is None


@pytest.mark.parametrize(
    "sender", ["ann@client.example", "SRS0=abcd=ef=a.example=b@c.example", "x" * 60 + "@y.example"]
)
def test_a_rewritten_sender_is_read_without_a_key_but_verified_only_with_the_key(sender):
    local_part = rewritten(sender).rpartition("@")[0]
    claimed = srs.claims(local_part)
    assert claimed == returned(local_part)
    assert claimed.first_id <= ID <= claimed.last_id
    assert returned(local_part, key_of=lambda _: b"of another email address") is None
    assert srs.claims("ann") is None
