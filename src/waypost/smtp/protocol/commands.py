"""The handlers of the SMTP commands. A handler runs only if its command is allowed in the session's state.

`states.py` defines the states in which each command is allowed, and the state that follows the command.
"""

from collections.abc import Callable

from msgspec import Struct

from waypost.domain.directory.addresses import Address
from waypost.smtp.protocol import grammar, parameters, replies
from waypost.smtp.protocol.capabilities import ehlo_reply
from waypost.smtp.protocol.data import Body, ChunkDecoder
from waypost.smtp.protocol.exchange import Exchange
from waypost.smtp.protocol.replies import Reply
from waypost.smtp.protocol.requests import ContentOffered, RecipientGiven, SenderGiven, TlsWanted
from waypost.smtp.protocol.states import TRANSITIONS, Event, State, out_of_order
from waypost.smtp.protocol.transfer import Transfer

CLOSING = 421
"""The code of a reply after which the server closes the connection (RFC 5321 section 3.8)."""

Handler = Callable[[Exchange, str], Reply | None]
"""A function that carries out a command, given the command's argument.

A handler returns the reply, or None if it has made a request to the server or has already sent every reply."""


class Command(Struct, frozen=True):
    """One SMTP command: its handler, and the conditions under which the command is refused."""

    run: Handler
    event: Event | None = None
    """The event that the command causes; None for a command that is always allowed and does not change the session's
    state.
    """
    takes_argument: bool = True
    needs_tls: bool = True
    """Whether the command is refused on a connection without TLS if the settings require TLS."""
    lmtp: bool | None = None
    """True if the command exists only in LMTP, False if only in SMTP, None if it exists in both protocols."""
    is_offered: bool = True
    """Whether HELP lists the command; HELP does not list commands that are always refused."""


def carry_out(exchange: Exchange, verb: str, argument: str) -> Reply | None:
    """Carry out the command, or refuse it.

    Returns the reply, or None if the handler has made a request to the server or has already sent every reply. Raises
    `parameters.Refused`.
    """
    command = COMMANDS.get(verb)
    if command is None or command.lmtp not in (None, exchange.capabilities.lmtp):
        return replies.UNKNOWN_COMMAND
    if exchange.needs_tls and command.needs_tls:
        return replies.NEEDS_TLS
    if argument and not command.takes_argument:
        return replies.NO_ARGUMENT.about(verb=verb)
    if command.event is not None and command.event not in TRANSITIONS[exchange.state]:
        return out_of_order(exchange.state, command.event)
    return command.run(exchange, argument)


def _ehlo(exchange: Exchange, name: str) -> Reply:
    if not grammar.is_helo_name(name):
        return replies.BAD_HELO.about(verb="LHLO" if exchange.capabilities.lmtp else "EHLO")
    _greeted(exchange, name, is_extended=True)
    return ehlo_reply(exchange.capabilities, is_tls=bool(exchange.tls))


def _helo(exchange: Exchange, name: str) -> Reply:
    if not grammar.is_helo_name(name):
        return replies.BAD_HELO.about(verb="HELO")
    _greeted(exchange, name, is_extended=False)
    return replies.HELO.about(hostname=exchange.capabilities.hostname)


def _greeted(exchange: Exchange, name: str, *, is_extended: bool) -> None:
    exchange.client_name, exchange.is_extended = name, is_extended
    exchange.was_greeted = True
    exchange.move(Event.EHLO)
    exchange.forget_transaction()


def _starttls(exchange: Exchange, _: str) -> Reply | None:
    if not exchange.capabilities.offers_tls:
        return replies.NOT_IMPLEMENTED
    if exchange.tls:
        return replies.OUT_OF_ORDER.about(verb="STARTTLS", needed="the connection already uses TLS")
    exchange.forget_transaction()
    exchange.input.clear()  # cleartext after STARTTLS is discarded: an attacker could have injected it
    exchange.move(Event.STARTTLS)
    exchange.ask(TlsWanted())
    return replies.READY_FOR_TLS


def _mail(exchange: Exchange, argument: str) -> Reply | None:
    if exchange.mails >= exchange.capabilities.mail_limit:
        exchange.close(replies.TOO_MANY_COMMANDS)
        return None
    mail = parameters.read_mail(argument, message_limit=exchange.capabilities.message_limit)
    refusal = exchange.gate.at_mail()
    if refusal:
        return refusal
    if exchange.gate.injects_faults:
        exchange.ask(SenderGiven(mail, exchange.client_name))
        return None
    return sender_accepted(exchange, mail)


def sender_accepted(exchange: Exchange, mail: parameters.Mail) -> Reply:
    """Begin a mail transaction. Returns the reply."""
    exchange.mails += 1
    exchange.transaction = parameters.Transaction(mail)
    exchange.move(Event.MAIL)
    return replies.SENDER_OK


def _rcpt(exchange: Exchange, argument: str) -> Reply | None:
    transaction, capabilities = exchange.transaction, exchange.capabilities
    assert transaction
    address, transaction.notification = parameters.read_rcpt(
        argument, smtputf8=transaction.mail.smtputf8, hostname=capabilities.hostname
    )
    limit = capabilities.recipient_limit
    if not transaction.mail.sender:
        limit = min(limit, capabilities.bounce_recipient_limit)
    if address is None:
        recipient_refused(exchange, replies.NO_SUCH_USER)
    elif len(transaction.recipients) >= limit:
        return replies.TOO_MANY_RECIPIENTS.about(limit=limit)
    elif exchange.gate.knows(address):
        recipient_accepted(exchange, address)
        return replies.RECIPIENT_OK
    else:
        exchange.ask(RecipientGiven(address, transaction.mail.sender, exchange.client_name))
    return None


def recipient_accepted(exchange: Exchange, address: Address) -> None:
    """Add a recipient to the transaction."""
    transaction = exchange.transaction
    assert transaction
    transaction.recipients.append(address)
    transaction.notifications.append(transaction.notification)
    exchange.move(Event.RCPT)


def recipient_refused(exchange: Exchange, reply: Reply) -> None:
    """Refuse a recipient. End the session if the client has sent too many unknown recipients. Recipients that a fault
    rule refuses are not counted.
    """
    exchange.unknown_recipients += reply == replies.NO_SUCH_USER
    if exchange.unknown_recipients >= exchange.capabilities.unknown_recipient_limit and not exchange.is_trusted:
        reply = replies.TOO_MANY_UNKNOWN
    if reply.code == CLOSING:
        exchange.close(reply)
    else:
        exchange.say(reply)


def _data(exchange: Exchange, _: str) -> Reply | None:
    assert exchange.transaction
    if exchange.transaction.mail.body == "BINARYMIME":
        return replies.OUT_OF_ORDER.about(verb="DATA", needed="BODY=BINARYMIME requires BDAT")
    refusal = exchange.gate.at_data()
    if refusal:
        return refusal
    if exchange.gate.injects_faults:
        _offer_content(exchange)
        return None
    return content_wanted(exchange)


def content_wanted(exchange: Exchange) -> Reply:
    """Begin to receive a message after DATA. Returns the reply."""
    exchange.transfer = Transfer(_begin_body(exchange))
    exchange.move(Event.DATA)
    return replies.GO_AHEAD


def _offer_content(exchange: Exchange) -> None:
    transaction = exchange.transaction
    assert transaction
    exchange.ask(ContentOffered(tuple(transaction.recipients), transaction.mail.sender, exchange.client_name))


def _bdat(exchange: Exchange, argument: str) -> None:
    try:
        size, is_last = grammar.parse_chunk(argument)
    except grammar.BadSyntax:
        exchange.close(replies.BAD_BDAT)
        return
    if not exchange.was_greeted:
        exchange.close(out_of_order(State.START, Event.BDAT))
        return
    if size > 2 * exchange.capabilities.message_limit:
        exchange.close(replies.MESSAGE_TOO_BIG.about(limit=exchange.capabilities.message_limit))
        return
    is_first = exchange.transfer is None
    if exchange.transfer is None:
        exchange.transfer = _begin_chunks(exchange)
    exchange.move(Event.BDAT)
    exchange.transfer.begin_chunk(size, is_last=is_last)
    if is_first and exchange.gate.injects_faults and not exchange.transfer.body.refusal:
        _offer_content(exchange)


def _begin_chunks(exchange: Exchange) -> Transfer:
    """Begin a message with its first chunk. The session must read the chunk even if it refuses the message."""
    transaction = exchange.transaction
    if exchange.needs_tls:
        refusal: Reply | None = replies.NEEDS_TLS
    elif transaction is None or not transaction.recipients:
        refusal = out_of_order(exchange.state, Event.BDAT)
    else:
        refusal = exchange.gate.at_data()
    body = _begin_body(exchange)
    if refusal:
        body.refuse(refusal)
    may_be_binary = transaction is not None and transaction.mail.body == "BINARYMIME"
    return Transfer(body, chunks=ChunkDecoder(body, may_be_binary=may_be_binary))


def _begin_body(exchange: Exchange) -> Body:
    exchange.transfers += 1
    return Body(exchange.capabilities.message_limit, piece=exchange.capabilities.piece)


def _rset(exchange: Exchange, _: str) -> Reply:
    exchange.move(Event.RSET)
    exchange.forget_transaction()
    return replies.OK


def _help(exchange: Exchange, _: str) -> Reply:
    offered = [
        verb
        for verb, command in COMMANDS.items()
        if command.is_offered and command.lmtp in {None, exchange.capabilities.lmtp}
    ]
    if not exchange.capabilities.offers_tls or exchange.tls:
        offered.remove("STARTTLS")
    return replies.HELP.about(commands=" ".join(offered))


def _quit(exchange: Exchange, _: str) -> None:
    exchange.close(replies.BYE, Event.QUIT)


def _always(reply: Reply) -> Handler:
    return lambda _exchange, _argument: reply


COMMANDS = {
    "LHLO": Command(_ehlo, Event.EHLO, needs_tls=False, lmtp=True),
    "EHLO": Command(_ehlo, Event.EHLO, needs_tls=False, lmtp=False),
    "HELO": Command(_helo, Event.EHLO, needs_tls=False, lmtp=False),
    "STARTTLS": Command(_starttls, Event.STARTTLS, takes_argument=False, needs_tls=False),
    "MAIL": Command(_mail, Event.MAIL),
    "RCPT": Command(_rcpt, Event.RCPT),
    "DATA": Command(_data, Event.DATA, takes_argument=False),
    "BDAT": Command(_bdat, Event.BDAT, needs_tls=False),  # the handler refuses it, because it must read the chunk first
    "RSET": Command(_rset, Event.RSET, takes_argument=False),
    "NOOP": Command(_always(replies.OK), needs_tls=False),
    "VRFY": Command(_always(replies.CANNOT_VERIFY)),
    "HELP": Command(_help, needs_tls=False),
    "QUIT": Command(_quit, Event.QUIT, takes_argument=False, needs_tls=False),
    "EXPN": Command(_always(replies.NOT_IMPLEMENTED), is_offered=False),
    "AUTH": Command(_always(replies.NOT_IMPLEMENTED), is_offered=False),
}
"""Every command that the server knows, by its verb."""
