"""Every reply that we can give, as a named value, with what it tells a postmaster.

Enhanced codes are those of RFC 3463 and its registry. `docs/smtp-replies.md` is made from this file.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply: a code, an enhanced code (RFC 2034; none for greetings and 354), and lines of text."""

    code: int
    enhanced: str | None
    text: str
    means: str = field(compare=False)
    """What has happened, for the person who reads it in a log of the sending side."""
    sender: str = field(compare=False)
    """What the sending side should do; empty if nothing."""
    accepts: bool = field(init=False)
    """Whether this is a yes."""
    _wire: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        prefix = f"{self.enhanced} " if self.enhanced else ""
        *lines, last = self.text.split("\n")
        continued = "".join(f"{self.code}-{prefix}{line}\r\n" for line in lines)
        object.__setattr__(self, "accepts", 200 <= self.code < 300)
        object.__setattr__(self, "_wire", f"{continued}{self.code} {prefix}{last}\r\n".encode())

    def __bytes__(self) -> bytes:
        """As sent, each line with its code (RFC 5321 section 4.2.1)."""
        return self._wire

    def __str__(self) -> str:
        """As it would be logged."""
        return self._wire.decode().strip()

    def about(self, **details: object) -> "Reply":
        """The same reply with its placeholders filled."""
        text = self.text.format(**details)
        return Reply(code=self.code, enhanced=self.enhanced, text=text, means=self.means, sender=self.sender)


def _reply(code: int, enhanced: str | None, text: str, *, means: str, sender: str = "") -> Reply:
    return Reply(code=code, enhanced=enhanced, text=text, means=means, sender=sender)


_AGAIN = "Keep the message and try again later, as mail servers do by themselves."
_CLIENT_FAULT = "This is a fault of the sending software; report it to whoever makes it."


GREETING = _reply(220, None, "{hostname} {protocol} Waypost", means="The server is ready.")
READY_FOR_TLS = _reply(
    220,
    "2.0.0",
    "Ready to start TLS",
    means="The TLS handshake may begin. Whatever was sent before it is forgotten.",
    sender="Begin the handshake, then say EHLO again.",
)
HELO = _reply(250, None, "{hostname}", means="The answer to HELO: the server's name, and no extensions.")
EHLO = _reply(
    250, None, "{hostname}\n{extensions}", means="The answer to EHLO or LHLO: the server's name, and its extensions."
)
OK = _reply(250, "2.0.0", "OK", means="The command is done.")
SENDER_OK = _reply(250, "2.1.0", "Sender OK", means="A message has begun. It says nothing of the sender.")
RECIPIENT_OK = _reply(250, "2.1.5", "Recipient OK", means="Mail for this address is taken here.")
CHUNK_OK = _reply(250, "2.0.0", "{size} octets received", means="A BDAT chunk has come in; the message goes on.")
GO_AHEAD = _reply(354, None, "End data with <CR><LF>.<CR><LF>", means="The message may be sent now.")
ACCEPTED = _reply(
    250,
    "2.0.0",
    "{id} accepted",
    means="The message is on disk, with a delivery for each recipient, and is ours. The id finds it in the trace.",
)
HELP = _reply(214, "2.0.0", "{commands}\nSee RFC 5321", means="The commands that may be used now.")
CANNOT_VERIFY = _reply(
    252,
    "2.0.0",
    "Send mail and we will see",
    means="VRFY tells nothing of addresses, so that nobody can collect them.",
    sender="Send the mail: RCPT says whether it is taken.",
)
BYE = _reply(221, "2.0.0", "Bye", means="The session is over, as you asked.")

SHUTTING_DOWN = _reply(
    421, "4.3.2", "Shutting down; please try again", means="The server is being stopped or restarted.", sender=_AGAIN
)
TIMEOUT = _reply(
    421,
    "4.4.2",
    "Nothing was heard from you for too long",
    means="No whole command came in time, or nothing more of a message.",
    sender="Try again. If it happens often, look at the network between us, or for a firewall that swallows packets.",
)
TOO_SLOW = _reply(
    421,
    "4.4.2",
    "The message came too slowly",
    means="A message has a time to come in, which grows with what has come: 500 octets a second have to.",
    sender="Try again. If it happens often, look at the network between us.",
)
TOO_MANY_CONNECTIONS = _reply(
    421,
    "4.7.0",
    "Too many connections from your address; please try again later",
    means="One address (one /64 network with IPv6) may have so many connections at once, and open so many a minute. "
    "One /48 network may have half of all connections.",
    sender="Use fewer connections at once; several messages can go over one.",
)
SERVER_FULL = _reply(
    421,
    "4.7.0",
    "Too many connections; please try again later",
    means="The server has all the connections it may have.",
    sender=_AGAIN,
)
TOO_MANY_ERRORS = _reply(
    421,
    "4.7.0",
    "Too many errors",
    means="So many commands of this session were refused that it does not look like a mail server's.",
    sender="Look at the replies before this one. Our log has the last of them.",
)
TOO_MANY_UNKNOWN = _reply(
    421,
    "4.7.0",
    "Too many unknown recipients",
    means="This client has named so many addresses that do not exist here that it seems to be collecting addresses. "
    "The last recipient may exist or not.",
    sender="Take addresses that were answered 550 off your list; messages not yet accepted may be sent again.",
)
TOO_MANY_COMMANDS = _reply(
    421,
    "4.7.0",
    "Too many commands; please connect again",
    means="A session has so many commands without a message, and so many messages (EHLO says how many).",
    sender="Connect again for further messages.",
)
TOO_MANY_MESSAGES = _reply(
    450,
    "4.7.1",
    "Too many messages from your address; please try again later",
    means="The operator has set how many messages one address may send in a time.",
    sender=_AGAIN,
)
TRY_AGAIN = _reply(
    451,
    "4.3.0",
    "Temporary failure (id {id}); please try again",
    means="Something went wrong on our side. The mail is still yours. The id finds the cause in our log.",
    sender=_AGAIN,
)
AUTHOR_IN_DOUBT = _reply(
    451,
    "4.7.0",
    "From is unclear, and a domain in it cannot be asked for its policy now; please try again",
    means="From does not name one domain, and the DNS did not say in time what each of them wants (DMARC).",
    sender="Write one address into From, with a name that has an @ in quotes; or try again later.",
)
AUTHENTICITY_IN_DOUBT = _reply(
    451,
    "4.7.0",
    "The DNS of the domain in From does not answer now, so nobody can say whether it has sent this; please try again",
    means="The domain's policy (DMARC), or the SPF or DKIM record that may speak for it, could not be looked up.",
    sender="Try again later. If it happens often, look at the DNS servers of the domain in From.",
)
NOT_CHECKED = _reply(
    451,
    "4.7.0",
    "Who has sent this cannot be checked now ({reason}); please try again",
    means="The operator wants senders checked (DMARC), and this server could not do it now. The mail is still yours.",
    sender=_AGAIN,
)
RECIPIENTS_CHANGED = _reply(
    451,
    "4.2.1",
    "{reason}",
    means="An address was removed between RCPT and the end of the message, so nothing of it was taken.",
    sender="Try again: RCPT will say which addresses are still there.",
)
NO_MEMORY = _reply(
    452,
    "4.3.1",
    "No room for a message now; please try again",
    means="All the memory that messages in flight may have is in use.",
    sender=_AGAIN,
)
NO_DISK = _reply(
    452,
    "4.3.1",
    "No room on the disk for a message now; please try again",
    means="The disk of this server is nearly full. What it has taken is safe; it takes no more until there is room.",
    sender=_AGAIN,
)
TOO_MANY_RECIPIENTS = _reply(
    452,
    "4.5.3",
    "Too many recipients: {limit} at most in one message",
    means="A message has so many recipients (EHLO says how many); one from the null sender, as bounces are, has 4.",
    sender="Send the message again for the rest of them, as mail servers do by themselves.",
)

UNKNOWN_COMMAND = _reply(
    500, "5.5.2", "Command not recognised", means="This is no command that we know.", sender=_CLIENT_FAULT
)
LINE_TOO_LONG = _reply(
    500,
    "5.5.2",
    "Line too long: {limit} octets at most",
    means="A command line is longer than RFC 5321 section 4.5.3.1.4 and the extensions allow.",
    sender=_CLIENT_FAULT,
)
NOT_UTF8 = _reply(
    500, "5.5.2", "Command is not valid UTF-8", means="A command has octets that are no text.", sender=_CLIENT_FAULT
)
BAD_HELO = _reply(
    501,
    "5.5.4",
    "Syntax: {verb} your-host-name",
    means="The name is missing, or has a space or something invisible in it.",
    sender="Set the host name of the sending server.",
)
BAD_MAIL = _reply(
    501,
    "5.5.4",
    "Syntax: MAIL FROM:<address> [parameters]",
    means="The sender is no address in angle brackets.",
    sender=_CLIENT_FAULT,
)
BAD_RCPT = _reply(
    501,
    "5.5.4",
    "Syntax: RCPT TO:<address> [parameters]",
    means="The recipient is no address in angle brackets.",
    sender=_CLIENT_FAULT,
)
BAD_BDAT = _reply(
    501,
    "5.5.4",
    "Syntax: BDAT size [LAST]",
    means="Without the size nobody can tell the message from the next command, so the session ends.",
    sender=_CLIENT_FAULT,
)
BAD_PARAMETER = _reply(
    501,
    "5.5.4",
    "Bad value or repeated: {name}",
    means="A parameter of MAIL or RCPT has no value that its RFC allows.",
    sender=_CLIENT_FAULT,
)
NO_ARGUMENT = _reply(501, "5.5.4", "{verb} takes no argument", means="Something stood behind it.", sender=_CLIENT_FAULT)
NOT_IMPLEMENTED = _reply(
    502,
    "5.5.1",
    "Command not implemented",
    means="EXPN would tell addresses; AUTH has no use here, where nothing is relayed; STARTTLS needs a certificate.",
    sender="Go on without it.",
)
OUT_OF_ORDER = _reply(
    503, "5.5.1", "{verb} is out of order: {needed}", means="A command came at the wrong time.", sender=_CLIENT_FAULT
)
NEEDS_TLS = _reply(
    530,
    "5.7.0",
    "Must issue a STARTTLS command first",
    means="The operator wants all mail to come over TLS.",
    sender="Switch TLS on for this destination.",
)
BARE_LINE_END = _reply(
    521,
    "5.5.2",
    "A line must end with <CR><LF>; bare <CR> or <LF> is not accepted",
    means="With other line ends one message can be made to look like two, so the session ends.",
    sender=_CLIENT_FAULT,
)
NOT_SMTP = _reply(
    521,
    "5.5.1",
    "This is not SMTP",
    means="An HTTP request, a header field or the start of a TLS handshake came in place of a command. The session "
    "ends, because a web page can make a browser send mail commands in the body of a request.",
    sender="TLS begins after STARTTLS, or on the port for it. A message begins after the answer to DATA.",
)
NO_SUCH_USER = _reply(
    550,
    "5.1.1",
    "No such address here",
    means="The address does not exist here, and nothing is relayed to other places.",
    sender="Look at the spelling; tell the author of the message.",
)
NOT_AUTHENTIC = _reply(
    550,
    "5.7.26",
    "Neither SPF nor DKIM speaks for the domain in From, whose owner wants such mail refused (DMARC)",
    means="The message does not show that it comes from whom it says.",
    sender="Send through the servers of that domain, or have it sign the message with DKIM.",
)
TOO_MANY_AUTHORS = _reply(
    550,
    "5.7.1",
    "From names too many domains or addresses, or From or the header is too long; {limit} domains at most",
    means="Which domains want such mail refused (DMARC) cannot be found out for so many, or without all of the header.",
    sender="Write one address into From.",
)
MESSAGE_TOO_BIG = _reply(
    552,
    "5.3.4",
    "Message too big: {limit} octets at most",
    means="EHLO says how large a message may be.",
    sender="Send less, or in parts.",
)
HEADER_TOO_BIG = _reply(
    552,
    "5.3.4",
    "Message header too big: {octets} octets in {lines} lines at most",
    means="No mail needs such a header; it is a fault, or an attack.",
    sender=_CLIENT_FAULT,
)
SOURCE_ROUTE = _reply(
    553,
    "5.1.3",
    "Source routes are not followed; name the address alone",
    means="The path names hosts to go through, which RFC 5321 has ended.",
    sender="Name the address alone.",
)
NEEDS_SMTPUTF8 = _reply(
    553,
    "5.6.7",
    "A non-ASCII address needs the SMTPUTF8 parameter of MAIL",
    means="The address is not ASCII, and MAIL did not say that it may be otherwise (RFC 6531).",
    sender=_CLIENT_FAULT,
)
EARLY_TALKER = _reply(
    554,
    "5.5.1",
    "You spoke before the greeting",
    means="The operator has the greeting delayed, and mail servers wait for it.",
    sender=_CLIENT_FAULT,
)
BARE_LINE_END_IN_DATA = _reply(
    554,
    "5.5.2",
    "A line of the message ends with a bare <CR> or <LF>; not accepted",
    means="With other line ends one message can be made to look like two. After DATA the session ends too.",
    sender="Have the software write <CR><LF>, or send with BDAT and BODY=BINARYMIME.",
)
NO_RECIPIENTS = _reply(
    554,
    "5.5.1",
    "No valid recipients",
    means="All recipients were refused, so there is nobody to take the message for.",
    sender="Look at the replies to RCPT.",
)
MAIL_LOOP = _reply(
    554,
    "5.4.6",
    "{reason}",
    means="The message has been here before, or has more than 100 Received lines: servers forward it in a circle.",
    sender="Find who forwards the address, and end the circle.",
)
UNKNOWN_PARAMETER = _reply(
    555,
    "5.5.4",
    "Parameter not recognised: {name}",
    means="MAIL or RCPT has a parameter of an extension that EHLO did not offer.",
    sender=_CLIENT_FAULT,
)
