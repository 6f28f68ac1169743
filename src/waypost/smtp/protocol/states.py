"""The states of an SMTP session, and its transitions.

`TRANSITIONS` is the whole of it. A session moves by `after` alone, so a step that is not in the table is a bug that
shows at once; a command that is not in the table for the session's state gets the reply of `out_of_order`. The picture
in `docs/reference/smtp.md` is drawn from the table, and a test checks that the dialogues take each of its steps and no
other. How a command is carried out stands in `commands.py`.
"""

from collections.abc import Mapping
from enum import StrEnum

from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply


class State(StrEnum):
    """Where a session is. Their values are the names in the picture."""

    START = "START"
    """The client has not said EHLO, HELO or LHLO; or not again since the TLS handshake."""
    READY = "READY"
    """No mail transaction is open."""
    MAIL = "MAIL"
    """A mail transaction is open, and has no recipient."""
    RCPT = "RCPT"
    """It has a recipient at least."""
    DATA = "DATA"
    """The client sends the message, up to the single dot; or it is complete, and the server has not answered yet."""
    CHUNK = "CHUNK"
    """The client sends a chunk of the message; or the last one is complete, and the server has not answered yet."""
    BETWEEN_CHUNKS = "BETWEEN_CHUNKS"
    """Some chunks of the message were received, but not the last."""
    CHUNK_IN_START = "CHUNK_IN_START"
    """The client sends a chunk that was refused at once, because EHLO has to be sent again after the TLS handshake."""
    TLS = "TLS"
    """The TLS handshake is going on."""
    OVER = "OVER"
    """The session is over."""


class Event(StrEnum):
    """The events that change the state. A command does when it is accepted, where nothing else is said."""

    EHLO = "EHLO"
    """Also HELO and LHLO."""
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BDAT = "BDAT"
    """Also where the chunk is refused: its octets come in any case."""
    CHUNK_ENDED = "end of a chunk"
    MESSAGE_ENDED = "end of the message"
    """Its last octet was received, and the client gets the reply."""
    RSET = "RSET"
    STARTTLS = "STARTTLS"
    TLS_STARTED = "end of the handshake"
    QUIT = "QUIT"
    CLOSED = "the server closes"


_ALWAYS: Mapping[Event, State] = {
    Event.EHLO: State.READY,
    Event.STARTTLS: State.TLS,
    Event.QUIT: State.OVER,
    Event.CLOSED: State.OVER,
}
"""Events that are in order in every state that reads commands, and lead to the same state."""

TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.START: {
        Event.RSET: State.START,
        Event.BDAT: State.CHUNK_IN_START,
        **_ALWAYS,
    },
    State.READY: {
        Event.MAIL: State.MAIL,
        Event.BDAT: State.CHUNK,
        Event.RSET: State.READY,
        **_ALWAYS,
    },
    State.MAIL: {
        Event.RCPT: State.RCPT,
        Event.BDAT: State.CHUNK,
        Event.RSET: State.READY,
        **_ALWAYS,
    },
    State.RCPT: {
        Event.RCPT: State.RCPT,
        Event.DATA: State.DATA,
        Event.BDAT: State.CHUNK,
        Event.RSET: State.READY,
        **_ALWAYS,
    },
    State.DATA: {
        Event.MESSAGE_ENDED: State.READY,
        Event.CLOSED: State.OVER,
    },
    State.CHUNK: {
        Event.CHUNK_ENDED: State.BETWEEN_CHUNKS,
        Event.MESSAGE_ENDED: State.READY,
        Event.CLOSED: State.OVER,
    },
    State.BETWEEN_CHUNKS: {
        Event.BDAT: State.CHUNK,
        Event.RSET: State.READY,
        **_ALWAYS,
    },
    State.CHUNK_IN_START: {
        Event.MESSAGE_ENDED: State.START,
        Event.CLOSED: State.OVER,
    },
    State.TLS: {
        Event.TLS_STARTED: State.START,
        Event.CLOSED: State.OVER,
    },
    State.OVER: {},
}
"""Everything that can happen to a session, by its state."""

_OUT_OF_ORDER: Mapping[Event, Reply] = {
    Event.MAIL: replies.OUT_OF_ORDER.about(verb="MAIL", needed="say EHLO first, and one MAIL at a time"),
    Event.RCPT: replies.OUT_OF_ORDER.about(verb="RCPT", needed="say MAIL first"),
    Event.DATA: replies.OUT_OF_ORDER.about(verb="DATA", needed="say MAIL and RCPT first"),
    Event.BDAT: replies.OUT_OF_ORDER.about(verb="BDAT", needed="say MAIL and RCPT first"),
}

_OUT_OF_ORDER_IN: Mapping[tuple[State, Event], Reply] = {
    # A client that sends its commands together sends DATA before it knows that all of its recipients were refused.
    (State.MAIL, Event.DATA): replies.NO_RECIPIENTS,
    (State.MAIL, Event.BDAT): replies.NO_RECIPIENTS,
}


class UndeclaredTransition(Exception):
    """A session was told to make a transition that `TRANSITIONS` does not have: a bug in the session or in its
    caller.
    """


def after(state: State, event: Event) -> State:
    """The state that `event` leads to from `state`. Raises `UndeclaredTransition`."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise UndeclaredTransition(f"{event!r} in {state!r}") from None


def out_of_order(state: State, event: Event) -> Reply:
    """The reply to a command that is out of order in `state`."""
    return _OUT_OF_ORDER_IN.get((state, event)) or _OUT_OF_ORDER[event]
