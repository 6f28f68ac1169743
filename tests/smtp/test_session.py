"""The SMTP session says and asks what the dialogues say, however its input is cut."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.smtp import dialogue
from waypost.smtp import replies
from waypost.smtp.session import COMMANDS_A_TURN, Session

DIALOGUES = {path.stem: dialogue.read(path) for path in sorted(Path(__file__).parent.glob("dialogues/*.smtp"))}

every_dialogue = pytest.mark.parametrize("told", DIALOGUES.values(), ids=DIALOGUES.keys())

FRAGMENTS = [
    b"EHLO client.example\r\n",
    b"HELO client.example\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"MAIL FROM:<> SIZE=5 BODY=8BITMIME SMTPUTF8\r\n",
    b"RCPT TO:<support@example.com>\r\n",
    b"RCPT TO:<unknown@example.com>\r\n",
    b"RCPT TO:<broken@example.com>\r\n",
    b"DATA\r\n",
    b"Subject: hello\r\n\r\n",
    b"..\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"RSET\r\n",
    b"QUIT\r\n",
    b"\r",
    b"\n",
    b"\r\n",
    b".",
    b" ",
    b"<",
    b">",
    b'"',
    b"\\",
    b"@",
    b"x" * 600,
    "RCPT TO:<bücher@bücher.example>\r\n".encode(),
]

anything = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=12), max_size=20).map(b"".join)
a_transaction = anything.map(lambda octets: b"".join(FRAGMENTS[i] for i in (0, 2, 4, 7)) + octets)
text_in_brackets = st.text(max_size=30).map(lambda text: f"<{text}@{text[::-1]}>\r\n".encode(errors="replace"))
odd_paths = text_in_brackets.map(lambda path: FRAGMENTS[0] + FRAGMENTS[3] + b"RCPT TO:" + path)
places = st.sets(st.integers(1, 2_000), max_size=40)


def a_session():
    return Session(hostname="mail.example", peer="192.0.2.7", message_limit=200, recipient_limit=3)


@every_dialogue
def test_turn_by_turn(told):
    session, house = told.session(), dialogue.House()
    for number, turn in enumerate(told.turns, 1):
        session.receive(turn.sent)
        answer, asked = house.serve(session), list(house.events)
        house.events.clear()
        assert asked == turn.events, f"turn {number}"
        assert dialogue.is_told(answer, turn.told), f"turn {number}: {answer}"


@every_dialogue
def test_all_at_once(told):
    asked, answer = dialogue.play(told.session(), [told.sent])
    assert asked == told.events
    assert dialogue.is_told(answer, told.told), answer


@every_dialogue
def test_byte_by_byte(told):
    asked, answer = dialogue.play(told.session(), [told.sent[i : i + 1] for i in range(len(told.sent))])
    assert asked == told.events
    assert dialogue.is_told(answer, told.told), answer
    assert (asked, answer) == dialogue.play(told.session(), [told.sent])


@every_dialogue
@settings(max_examples=20, deadline=None)
@given(places=st.sets(st.floats(0, 1), max_size=20))
def test_cut_at_random(told, places):
    pieces = dialogue.cut(told.sent, {int(place * len(told.sent)) for place in places})
    asked, answer = dialogue.play(told.session(), pieces)
    assert asked == told.events
    assert dialogue.is_told(answer, told.told), answer


@settings(max_examples=120, deadline=None)
@given(octets=anything | a_transaction | odd_paths, places=places)
def test_any_octets_cut_anywhere_are_answered_alike(octets, places):
    at_once = dialogue.play(a_session(), [octets])
    assert dialogue.play(a_session(), dialogue.cut(octets, places)) == at_once


@settings(max_examples=120, deadline=None)
@given(octets=anything | a_transaction | odd_paths)
def test_whatever_comes_in_what_goes_out_is_reply_lines(octets):
    _, answer = dialogue.play(a_session(), [octets])
    lines = answer.decode().split("\r\n")
    assert lines.pop() == ""
    assert all(re.fullmatch(r"[2-5][0-9]{2}[- ][^\r\n]+", line) for line in lines)


@given(octets=anything)
def test_after_the_farewell_nothing_is_said_or_asked(octets):
    session = a_session()
    dialogue.play(session, [b"QUIT\r\n"])
    assert session.farewell is replies.BYE
    assert dialogue.play(session, [octets]) == (["closed"], b"")
    assert session.waiting_octets == 0


def test_a_command_line_without_end_is_not_kept():
    session = a_session()
    for _ in range(1_000):
        session.receive(b"x" * 1_000)
        assert session.next_event() is None
    assert session.waiting_octets < 1_000


def test_a_question_must_be_answered_before_the_next():
    session = a_session()
    session.receive(b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\nNOOP\r\n")
    assert session.next_event() is not None
    with pytest.raises(RuntimeError):
        session.next_event()


def test_commands_after_a_question_wait_for_its_answer():
    session = a_session()
    session.receive(b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<support@example.com>\r\nNOOP\r\n")
    assert session.next_event() is not None
    assert session.waiting_octets == len(b"NOOP\r\n")
    session.output()
    session.answer(replies.RECIPIENT_OK)
    assert session.next_event() is None
    assert session.output() == bytes(replies.RECIPIENT_OK) + bytes(replies.OK)


def test_the_limit_of_a_message_is_the_one_that_ehlo_tells():
    session = Session(hostname="mail.example", peer="192.0.2.7")
    _, answer = dialogue.play(session, [b"EHLO client.example\r\n"])
    assert b"\r\n250-SIZE 41943040\r\n" in answer


def test_a_turn_ends_after_so_many_commands_and_the_next_goes_on():
    session = Session(hostname="mail.example", peer="192.0.2.1")
    session.output()
    session.receive(b"NOOP\r\n" * (COMMANDS_A_TURN + 1))

    assert session.next_event() is None
    assert session.has_more
    assert session.output() == bytes(replies.OK) * COMMANDS_A_TURN

    assert session.next_event() is None
    assert not session.has_more
    assert session.output() == bytes(replies.OK)
