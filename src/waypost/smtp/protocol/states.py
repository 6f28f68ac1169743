"""The states of an SMTP session, and the transitions between them.

`TRANSITIONS` is the complete table of transitions. A session changes its state only through `after`, which raises an
exception for a transition that is not in the table. A command that the table does not allow in the session's state gets
the reply that `out_of_order` returns. The diagram in `docs/reference/smtp.md` is drawn from the table. A test checks
that the test dialogues make every transition in the table and no other transition. The code that carries out commands
is in `commands.py`.
"""

from collections.abc import Mapping
from enum import StrEnum

from waypost.smtp.protocol import replies
from waypost.smtp.protocol.replies import Reply


class State(StrEnum):
    """The states of a session. The values are the names of the states in the diagram."""

    START = "START"
    """The client has not yet sent EHLO, HELO or LHLO, or has not repeated the command since the TLS handshake."""
    READY = "READY"
    """No mail transaction is open."""
    MAIL = "MAIL"
    """A mail transaction is open, but has no recipient yet."""
    RCPT = "RCPT"
    """A mail transaction is open, and has at least one recipient."""
    DATA = "DATA"
    """The client is sending the message, or the message is complete and the server has not answered yet."""
    CHUNK = "CHUNK"
    """The client is sending a chunk, or the last chunk is complete and the server has not answered yet."""
    BETWEEN_CHUNKS = "BETWEEN_CHUNKS"
    """Some chunks of the message have been received, but not the last one."""
    CHUNK_IN_START = "CHUNK_IN_START"
    """The client is sending a chunk that is already refused, because EHLO is required again after the TLS handshake."""
    TLS = "TLS"
    """The TLS handshake is in progress."""
    OVER = "OVER"
    """The session is over."""


class Event(StrEnum):
    """The events that change the state. Unless noted, a command's event occurs when the command is accepted."""

    EHLO = "EHLO"
    """The client has sent EHLO, HELO or LHLO."""
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BDAT = "BDAT"
    """The client has sent BDAT. A refused BDAT also causes this event, because the client sends the chunk anyway."""
    CHUNK_ENDED = "end of a chunk"
    MESSAGE_ENDED = "end of the message"
    """The last byte of the message has been received, and the server has replied to the message."""
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
"""The events that are allowed in every state in which the session reads commands. Each of these events leads to the
same state, whatever the current state is.
"""

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
"""For each state, the events that are allowed in that state, and the state that follows each event."""

_OUT_OF_ORDER: Mapping[Event, Reply] = {
    Event.MAIL: replies.OUT_OF_ORDER.about(verb="MAIL", needed="send EHLO first, and one MAIL at a time"),
    Event.RCPT: replies.OUT_OF_ORDER.about(verb="RCPT", needed="send MAIL first"),
    Event.DATA: replies.OUT_OF_ORDER.about(verb="DATA", needed="send MAIL and RCPT first"),
    Event.BDAT: replies.OUT_OF_ORDER.about(verb="BDAT", needed="send MAIL and RCPT first"),
}

_OUT_OF_ORDER_IN: Mapping[tuple[State, Event], Reply] = {
    # A client that uses pipelining sends DATA before it knows that all of its recipients were refused.
    (State.MAIL, Event.DATA): replies.NO_RECIPIENTS,
    (State.MAIL, Event.BDAT): replies.NO_RECIPIENTS,
}


class UndeclaredTransition(Exception):
    """Raised for a transition that is not in `TRANSITIONS`. Such a transition is a bug in the session or in its
    caller.
    """


def after(state: State, event: Event) -> State:
    """Return the state that follows `event` in `state`. Raises `UndeclaredTransition`."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise UndeclaredTransition(f"{event!r} in {state!r}") from None


def out_of_order(state: State, event: Event) -> Reply:
    """Return the reply to a command that is not allowed in `state`."""
    return _OUT_OF_ORDER_IN.get((state, event)) or _OUT_OF_ORDER[event]
