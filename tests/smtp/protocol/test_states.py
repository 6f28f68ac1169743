"""Tests that the table of session states has exactly the transitions that occur in the dialogues."""

from pathlib import Path

import pytest

from tests.kit import smtp_dialogues
from waypost.smtp.protocol import replies, states
from waypost.smtp.protocol.commands import COMMANDS
from waypost.smtp.protocol.exchange import Exchange
from waypost.smtp.protocol.requests import TlsWanted
from waypost.smtp.protocol.states import TRANSITIONS, Event, State, UndeclaredTransition

DIALOGUES = [smtp_dialogues.read(path) for path in sorted(Path(__file__).parent.glob("dialogues/*.smtp"))]

DECLARED = {(state, event) for state, events in TRANSITIONS.items() for event in events}

CLOSED = {(state, Event.CLOSED) for state in State if state is not State.OVER}
"""The transitions in which the server closes the session. Clients do not cause them, so dialogues need not have them.
"""

MAIL = b"EHLO c\r\nMAIL FROM:<>\r\n"
RCPT = MAIL + b"RCPT TO:<support@example.com>\r\n"

INPUTS = {
    State.START: b"",
    State.READY: b"EHLO c\r\n",
    State.MAIL: MAIL,
    State.RCPT: RCPT,
    State.DATA: RCPT + b"DATA\r\nHi\r\n",
    State.CHUNK: RCPT + b"BDAT 6\r\nHi",
    State.BETWEEN_CHUNKS: RCPT + b"BDAT 2\r\nHi",
    State.TLS: b"STARTTLS\r\n",
}
"""For each state, the input from a client that leads to it, without a TLS handshake."""


def a_session_in(state):
    """Create a session and bring it into this state."""
    session = smtp_dialogues.a_session(offers_tls=True)
    if state is State.CHUNK_IN_START:
        smtp_dialogues.play(session, [b"EHLO c\r\nSTARTTLS\r\n", b"BDAT 6\r\nHi"])
        return session
    session.receive(INPUTS[state])
    while request := session.next_request():
        if isinstance(request, TlsWanted):
            break
        session.answer(replies.OK)
    return session


@pytest.fixture
def transitions(monkeypatch):
    """A list to which each session adds its transitions, as they happen."""
    steps = []
    move = Exchange.move

    def move_and_note(self, event):
        steps.append((self.state, event))
        move(self, event)

    monkeypatch.setattr(Exchange, "move", move_and_note)
    return steps


def test_the_dialogues_make_every_transition_in_the_table_and_no_other(transitions):
    for dialogue in DIALOGUES:
        smtp_dialogues.play(dialogue.session(), [turn.sent for turn in dialogue.turns])
    assert set(transitions) | CLOSED == DECLARED


@pytest.mark.parametrize("state", [state for state in State if state is not State.OVER])
def test_the_server_can_close_a_session_in_every_state(state, transitions):
    session = a_session_in(state)
    session.close(replies.SHUTTING_DOWN)
    assert transitions[-1] == (state, Event.CLOSED)
    assert session.output().endswith(bytes(replies.SHUTTING_DOWN))
    assert (session.farewell, session.held_octets) == (replies.SHUTTING_DOWN, 0)


def test_every_state_is_reachable():
    assert set(TRANSITIONS) == set(State)
    assert {State.START, *(then for events in TRANSITIONS.values() for then in events.values())} == set(State)


def test_a_command_has_a_reply_for_every_state_that_does_not_allow_it():
    events = {command.event for command in COMMANDS.values()} - {None}
    read_in = [state for state, then in TRANSITIONS.items() if Event.QUIT in then]
    for state in read_in:
        for event in events - set(TRANSITIONS[state]):
            assert states.out_of_order(state, event).code in {503, 554}


@pytest.mark.parametrize(("state", "event"), [(State.START, Event.MAIL), (State.OVER, Event.CLOSED)])
def test_a_transition_that_is_not_in_the_table_raises_an_exception(state, event):
    with pytest.raises(UndeclaredTransition, match=state):
        states.after(state, event)


def test_a_handshake_without_starttls_raises_an_exception():
    session = smtp_dialogues.a_session()
    with pytest.raises(UndeclaredTransition):
        session.tls_started("TLSv1.3 X")


def test_closing_a_session_twice_sends_only_the_first_reply():
    session = smtp_dialogues.a_session()
    session.output()
    session.close(replies.TIMEOUT)
    session.close(replies.SHUTTING_DOWN)
    assert session.output() == bytes(replies.TIMEOUT)
    assert session.farewell is replies.TIMEOUT
