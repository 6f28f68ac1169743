"""The page of dead letters, and the pages that redrive one, several or all of them."""

import urllib.parse

import pytest

from tests.kit.peers.mail_sink import Sink
from tests.kit.routed import MESSAGE, REFUSED, dead_letters, hidden_fields, routed

LIST = "/queue/dead-letters"
REDRIVE = f"{LIST}/redrive"
OTHER = "111111111111"


@pytest.fixture
def sink():
    """A mail server that refuses all mail, until a test lets it accept."""
    with Sink(at_rcpt=lambda _: REFUSED) as sink:
        yield sink


@pytest.fixture
def address(console, sink):
    """An email address whose mail goes to the sink."""
    with routed(console, sink.to) as address:
        yield address


def accept(sink):
    sink.at_rcpt = lambda _: b"250 2.1.5 ok"


def test_a_dead_letter_is_listed_with_its_reason_and_redriven_after_one_question(console, sink, address):
    message = console.system.deliver(MESSAGE, address)
    (letter,) = dead_letters(console, address)
    page = console.browser.get(LIST, address=address)
    assert f'<a href="/console/mail/{message}">Invoice 118</a>' in page.html
    assert "550 5.1.1 no such user here" in page.text
    assert "Redrive all 1" in page.text

    asked = console.browser.get(REDRIVE, letter=letter)
    assert "Redrive 1 dead letter?" in asked.text
    assert address in asked.text.replace(" ", "")  # an address may be broken after its @
    assert dead_letters(console, address) == [letter]  # the question alone changes nothing

    accept(sink)
    done = console.browser.post(REDRIVE, hidden_fields(asked))
    assert (done.status, done.location) == (303, f"/console{LIST}")
    sink.wait_for(1)
    assert "1 dead letter was redriven." in console.browser.get(LIST, address=address).text
    again = console.browser.get(LIST, address=address)
    assert "No dead letter matches." in again.text
    assert "was redriven" not in again.text  # the sentence is shown once


def test_several_selected_dead_letters_are_redriven_together(console, sink, address):
    for _ in range(3):
        console.system.deliver(MESSAGE, address)
    one, other, kept = dead_letters(console, address, 3)
    asked = console.browser.get(f"{REDRIVE}?letter={one}&letter={other}")
    assert "Redrive 2 dead letters?" in asked.text
    accept(sink)
    assert console.browser.post(REDRIVE, hidden_fields(asked)).status == 303
    sink.wait_for(2)
    assert dead_letters(console, address) == [kept]


def test_all_dead_letters_that_meet_the_filters_are_redriven(console, sink, address):
    for _ in range(3):
        console.system.deliver(MESSAGE, address)
    dead_letters(console, address, 3)
    with routed(console, sink.to) as other:
        console.system.deliver(MESSAGE, other)
        dead_letters(console, other)
        asked = console.browser.get(REDRIVE, all="yes", address=address, since="1d")
        assert "Redrive 3 dead letters?" in asked.text
        accept(sink)
        assert console.browser.post(REDRIVE, hidden_fields(asked)).status == 303
        sink.wait_for(3)
        assert len(dead_letters(console, other)) == 1


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ({}, 400, "No dead letter is selected."),
        ({"letter": "x.y"}, 404, "There is no dead letter x.y in account"),
        ({"all": "yes", "address": "nobody"}, 400, "'nobody' is not an email address"),
        ({"all": "yes", "since": "yesterday"}, 400, "The time must be a duration"),
        ({"all": "yes", "since": "999999999d"}, 400, "The time must be a duration"),
        ({"all": "yes", "address": "nobody@example.com"}, 404, "There are no such dead letters."),
    ],
)
def test_a_wrong_choice_is_refused_with_a_sentence(console, query, status, sentence):
    page = console.browser.get(REDRIVE, **query)
    assert page.status == status
    assert sentence in page.text


def test_too_many_ids_are_refused(console):
    console.browser.get(LIST)
    page = console.browser.post(REDRIVE, {"letters": " ".join(f"{number}.x" for number in range(101))})
    assert page.status == 400
    assert "Select at most 100 dead letters" in page.text


def test_nobody_redrives_a_dead_letter_of_another_account(console, address):
    console.system.deliver(MESSAGE, address)
    (letter,) = dead_letters(console, address)
    key, _ = console.new_key(account=OTHER, name="theirs")
    theirs = console.signed_in(key.id, key.secret)
    assert address not in theirs.get(LIST).html
    assert theirs.get(REDRIVE, letter=letter).status == 404
    assert theirs.post(REDRIVE, {"letters": letter}).status == 404
    assert theirs.post(REDRIVE, {"all": "yes"}).status == 303
    assert "0 dead letters were redriven." in theirs.get(LIST).text
    assert dead_letters(console, address) == [letter]


def test_a_key_without_redrive_sees_dead_letters_but_does_not_redrive(console, address):
    console.system.deliver(MESSAGE, address)
    (letter,) = dead_letters(console, address)
    key, _ = console.new_key("waypost:Inspect")
    browser = console.signed_in(key.id, key.secret)
    page = browser.get(LIST, address=address)
    assert letter.partition(".")[0] in page.html
    assert "does not allow waypost:Redrive" in page.text
    assert REDRIVE not in page.html
    assert browser.get(REDRIVE, letter=letter).status == 403
    assert browser.post(REDRIVE, {"letters": letter}).status == 403
    assert dead_letters(console, address) == [letter]


def test_a_redrive_without_the_token_of_a_form_is_refused(console, address):
    console.system.deliver(MESSAGE, address)
    (letter,) = dead_letters(console, address)
    console.browser.get(LIST)
    assert console.browser.post(REDRIVE, {"letters": letter}, csrf="0" * 64).status == 403
    assert console.browser.get(f"{REDRIVE}?{urllib.parse.urlencode({'letters': letter})}").status == 400
    assert dead_letters(console, address) == [letter]
