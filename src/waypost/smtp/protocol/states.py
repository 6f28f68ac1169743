"""Where an SMTP session is, and what leads from there to where: the only place that knows.

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
    """The message is coming, up to a lone dot; or it is here whole, and the server has not answered for it."""
    CHUNK = "CHUNK"
    """A chunk of the message is coming; or the last one is here, and the server has not answered for the message."""
    BETWEEN_CHUNKS = "BETWEEN_CHUNKS"
    """Some chunks of the message have come, and not the last."""
    CHUNK_IN_START = "CHUNK_IN_START"
    """A chunk is coming that was refused at once, because EHLO has to be said again after the TLS handshake."""
    TLS = "TLS"
    """The TLS handshake is going on."""
    OVER = "OVER"
    """Nothing is read any more."""


class Event(StrEnum):
    """What can change the state. A command does when it is accepted, where nothing else is said."""

    EHLO = "EHLO"
    """Also HELO and LHLO."""
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BDAT = "BDAT"
    """Also where the chunk is refused: its octets come in any case."""
    CHUNK_ENDED = "end of a chunk"
    MESSAGE_ENDED = "end of the message"
    """Its last octet has come, and the client is told whether it was accepted."""
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
"""What is in order, and leads to the same state, wherever commands are read."""

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
"""All that can happen to a session, by where it is."""

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
    """A session was to take a step that `TRANSITIONS` does not have: a bug in the session or in its caller."""


def after(state: State, event: Event) -> State:
    """The state that `event` leads to from `state`. Raises `UndeclaredTransition`."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise UndeclaredTransition(f"{event!r} in {state!r}") from None


def out_of_order(state: State, event: Event) -> Reply:
    """What a client is told whose command is out of order in `state`."""
    return _OUT_OF_ORDER_IN.get((state, event)) or _OUT_OF_ORDER[event]
