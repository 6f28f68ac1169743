"""The query language of the search for mail, and the words of a text."""

from datetime import UTC, datetime

import pytest

from waypost.domain import errors
from waypost.domain.mail import mail_search
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.mail_filter import MailFilter
from waypost.domain.mail.mail_search import Field, Phrase, Query, is_match, parse
from waypost.domain.mail.mail_words import TEXT_LIMIT, WORD_LIMIT, beginning, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello, World!", ["hello", "world"]),
        ("ann@mail.example.com", ["ann", "mail", "example", "com"]),
        ("snake_case 3.14 a-b", ["snake", "case", "3", "14", "a", "b"]),
        ("Straße CAFÉ cafe\u0301 ﬁle Ａ１", ["strasse", "cafe", "cafe", "file", "a1"]),
        ("İstanbul", ["istanbul"]),
        ("東京タワーtower", ["東", "京", "タ", "ワ", "ー", "tower"]),
        ("한국어", ["한국어"]),
        ("\0\ud800a", ["a"]),
        ("x" * 100, ["x" * WORD_LIMIT]),
    ],
)
def test_the_words_of_a_text_are_its_runs_of_letters_and_digits_in_lower_case(text, expected):
    assert words(text) == expected


def test_the_words_of_a_text_are_words_themselves():
    for word in words("Ünïcode ǅ ß ﬀ ½ ² Ⅷ Ω ϒ ſ İ ᾳ ΐ 한 が"):
        assert words(word) == [word]


def test_only_the_beginning_of_a_long_text_is_indexed():
    assert beginning("é" * TEXT_LIMIT) == "é" * (TEXT_LIMIT // 2)
    assert beginning("x" + "é" * TEXT_LIMIT).encode() == ("x" + "é" * (TEXT_LIMIT // 2 - 1)).encode()
    assert beginning("short \ud800") == "short ?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("invoice", Query(phrases=(Phrase(Field.ANY, ("invoice",)),))),
        (" Two  words ", Query(phrases=(Phrase(Field.ANY, ("two",)), Phrase(Field.ANY, ("words",))))),
        ('"second reminder"', Query(phrases=(Phrase(Field.ANY, ("second", "reminder")),))),
        ("invoic*", Query(phrases=(Phrase(Field.ANY, ("invoic",), is_prefix=True),))),
        ('"two wor"*', Query(phrases=(Phrase(Field.ANY, ("two", "wor"), is_prefix=True),))),
        ("from:ann@example.com", Query(phrases=(Phrase(Field.FROM, ("ann", "example", "com")),))),
        ("TO:support", Query(phrases=(Phrase(Field.TO, ("support",)),))),
        ('subject:"Your order"', Query(phrases=(Phrase(Field.SUBJECT, ("your", "order")),))),
        ("12:30", Query(phrases=(Phrase(Field.ANY, ("12", "30")),))),
        ("https://example.com", Query(phrases=(Phrase(Field.ANY, ("https", "example", "com")),))),
        ('"is:dead"', Query(phrases=(Phrase(Field.ANY, ("is", "dead")),))),
        ("id:<m@example.com>", Query(id="m@example.com")),
        ("is:waiting", Query(filters=MailFilter(status=Status.QUEUED))),
        ("is:dead is:forwarded", Query(filters=MailFilter(status=Status.DEAD, reason=Reason.FORWARDED))),
        ("is:dead is:dead", Query(filters=MailFilter(status=Status.DEAD))),
        ("is:refused from:ann", Query(phrases=(Phrase(Field.FROM, ("ann",)),), is_refused=True)),
        ("after:2026-11-01", Query(filters=MailFilter(since=datetime(2026, 11, 1, tzinfo=UTC)))),
        ("before:2026-11-08T12:00:00+02:00", Query(filters=MailFilter(before=datetime(2026, 11, 8, 10, tzinfo=UTC)))),
    ],
)
def test_a_query_is_parsed(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The query is empty"),
        ("   ", "The query is empty"),
        ('"open', "A quotation mark in the query is not closed."),
        ('a"b', "A quotation mark in the query is not closed."),
        ('from:"open', "A quotation mark"),
        ("form:ann", "form: is not an operator. The operators are from:, to:, subject:, id:, before:, after:, is:."),
        ("from:", "from: needs a value, such as from:ann@example.com."),
        ('subject:" "', "subject: needs a value"),
        ("id:<>", "id: needs a value"),
        ("from:*", "from: needs a value"),
        ("subject:!!!", "subject:'!!!' has no letter or digit"),
        ("***", "'' has no letter or digit"),
        ("is:spam", "is: must be waiting, dead, direct, forwarded, notice, returned, refused, not 'spam'."),
        ("is:dead is:waiting", "is:waiting contradicts another is:"),
        ("is:direct is:notice", "is:notice contradicts another is:"),
        ("is:refused is:dead", "is:refused cannot be combined with another is:"),
        ("is:refused subject:x", "subject: cannot be combined with is:refused"),
        ("is:refused id:x", "id: cannot be combined with is:refused"),
        ("id:x id:y", "id: can occur only once"),
        ("after:yesterday", "after: must be a date or a time, such as after:2026-11-01, not 'yesterday'."),
        ("before:0001-01-01T00:00:00+14:00", "before: must be a date or a time"),
        ("x " * 21, "at most 20 words"),
        ("x" * 1001, "at most 1,000 characters"),
    ],
)
def test_the_error_for_a_wrong_query_names_the_operator(text, said):
    with pytest.raises(errors.Invalid) as caught:
        parse(text)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        (Phrase(Field.ANY, ("ann",)), True),
        (Phrase(Field.TO, ("ann",)), False),
        (Phrase(Field.FROM, ("ann", "example")), True),
        (Phrase(Field.FROM, ("ann", "exam")), False),
        (Phrase(Field.FROM, ("ann", "exam"), is_prefix=True), True),
        (Phrase(Field.FROM, ("example", "ann")), False),
        (Phrase(Field.ANY, ("ann", "example", "org", "more")), False),
    ],
)
def test_a_phrase_matches_words_that_follow_one_another(phrase, expected):
    assert is_match(phrase, {Field.FROM: "ann@example.org", Field.TO: "bob", Field.ANY: "550 no"}) is expected


def test_the_examples_of_the_operators_are_queries():
    for example in mail_search._EXAMPLES.values():
        assert parse(example) != Query()
