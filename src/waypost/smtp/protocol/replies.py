"""Every reply of the server, as a named value, with its explanation for a postmaster.

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
    """The explanation, for a person who reads the reply in a log of the sending side."""
    sender: str = field(compare=False)
    """The advice to the sending side; empty if there is nothing to do."""
    accepts: bool = field(init=False)
    """Whether the reply is positive."""
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


_AGAIN = "Keep the message and retry later, as mail servers do by themselves."
_CLIENT_FAULT = "This is an error in the sending software; report it to its maker."


GREETING = _reply(220, None, "{hostname} {protocol} Waypost", means="The server is ready.")
READY_FOR_TLS = _reply(
    220,
    "2.0.0",
    "Ready to start TLS",
    means="The TLS handshake may begin. Everything sent before it is discarded.",
    sender="Begin the handshake, then send EHLO again.",
)
HELO = _reply(250, None, "{hostname}", means="The answer to HELO: the server's name, and no extensions.")
EHLO = _reply(
    250, None, "{hostname}\n{extensions}", means="The answer to EHLO or LHLO: the server's name, and its extensions."
)
OK = _reply(250, "2.0.0", "OK", means="The command is done.")
SENDER_OK = _reply(250, "2.1.0", "Sender OK", means="A message has begun. It does not mean that the sender exists.")
RECIPIENT_OK = _reply(250, "2.1.5", "Recipient OK", means="The server accepts mail for this address.")
CHUNK_OK = _reply(
    250, "2.0.0", "{size} octets received", means="The server has received a BDAT chunk; the message continues."
)
GO_AHEAD = _reply(354, None, "End data with <CR><LF>.<CR><LF>", means="The message may be sent now.")
ACCEPTED = _reply(
    250,
    "2.0.0",
    "{id} accepted",
    means="The message is on disk, with a delivery for each recipient, and this server is responsible for it. The id "
    "finds it in the trace.",
)
HELP = _reply(214, "2.0.0", "{commands}\nSee RFC 5321", means="The commands that may be used now.")
CANNOT_VERIFY = _reply(
    252,
    "2.0.0",
    "Send mail and we will see",
    means="VRFY reveals nothing about addresses, so that they cannot be collected.",
    sender="Send the mail: the reply to RCPT says whether it is accepted.",
)
BYE = _reply(221, "2.0.0", "Bye", means="The session ends, as the client asked.")

SHUTTING_DOWN = _reply(
    421, "4.3.2", "Shutting down; please try again", means="The server is being stopped or restarted.", sender=_AGAIN
)
TIMEOUT = _reply(
    421,
    "4.4.2",
    "Nothing was heard from you for too long",
    means="The server received no complete command in time, or nothing more of a message.",
    sender="Try again. If it happens often, check the network, and firewalls that drop packets.",
)
TOO_SLOW = _reply(
    421,
    "4.4.2",
    "The message came too slowly",
    means="The time for a message grows with what was received: at least 500 bytes a second are required.",
    sender="Try again. If it happens often, check the network.",
)
TOO_MANY_CONNECTIONS = _reply(
    421,
    "4.7.0",
    "Too many connections from your address; please try again later",
    means="One address (one /64 network with IPv6) has reached its limit of connections, or of new connections a "
    "minute. "
    "One /48 network may have half of all connections.",
    sender="Use fewer connections at once; several messages can go over one.",
)
SERVER_FULL = _reply(
    421,
    "4.7.0",
    "Too many connections; please try again later",
    means="The server has reached its limit of connections.",
    sender=_AGAIN,
)
TOO_MANY_ERRORS = _reply(
    421,
    "4.7.0",
    "Too many errors",
    means="Too many commands of this session were refused: it does not look like a mail server's.",
    sender="See the replies before this one. The server's log has the last of them.",
)
TOO_MANY_UNKNOWN = _reply(
    421,
    "4.7.0",
    "Too many unknown recipients",
    means="This client has named so many addresses that do not exist here that it seems to be collecting addresses. "
    "The last recipient may exist or not.",
    sender="Remove addresses that got 550 from the list; messages that were not accepted may be sent again.",
)
TOO_MANY_COMMANDS = _reply(
    421,
    "4.7.0",
    "Too many commands; please connect again",
    means="The session has reached its limit of commands without a message, or of messages (EHLO shows the limit).",
    sender="Connect again for further messages.",
)
TOO_MANY_MESSAGES = _reply(
    450,
    "4.7.1",
    "Too many messages from your address; please try again later",
    means="The client's address has reached the limit of messages a minute that the operator has set.",
    sender=_AGAIN,
)
TRY_AGAIN = _reply(
    451,
    "4.3.0",
    "Temporary failure (id {id}); please try again",
    means="The server had an internal error. The mail is still yours. The id leads to the cause in the server's log.",
    sender=_AGAIN,
)
AUTHOR_IN_DOUBT = _reply(
    451,
    "4.7.0",
    "From is unclear, and a domain in it cannot be asked for its policy now; please try again",
    means="From does not name one domain, and the DNS did not answer in time for the policy of each (DMARC).",
    sender="Write one address in From, and put a name with an @ in quotes; or retry later.",
)
AUTHENTICITY_IN_DOUBT = _reply(
    451,
    "4.7.0",
    "The DNS of the domain in From does not answer now, so nobody can say whether it has sent this; please try again",
    means="The domain's policy (DMARC), or an SPF or DKIM record that may authenticate it, could not be looked up.",
    sender="Try again later. If it happens often, check the DNS servers of the domain in From.",
)
NOT_CHECKED = _reply(
    451,
    "4.7.0",
    "Who has sent this cannot be checked now ({reason}); please try again",
    means="The operator requires sender checks (DMARC), and the server cannot make them now. The mail is still yours.",
    sender=_AGAIN,
)
RECIPIENTS_CHANGED = _reply(
    451,
    "4.2.1",
    "{reason}",
    means="An email address was deleted between RCPT and the end of the message, so the message was not accepted.",
    sender="Retry: the replies to RCPT will show which addresses still exist.",
)
NO_MEMORY = _reply(
    452,
    "4.3.1",
    "No room for a message now; please try again",
    means="The memory for messages in flight is used up.",
    sender=_AGAIN,
)
NO_DISK = _reply(
    452,
    "4.3.1",
    "No room on the disk for a message now; please try again",
    means="The disk of this server is nearly full. Accepted mail is safe; the server accepts no more until there is "
    "room.",
    sender=_AGAIN,
)
TOO_MANY_RECIPIENTS = _reply(
    452,
    "4.5.3",
    "Too many recipients: {limit} at most in one message",
    means="The message has reached the limit of recipients (EHLO shows it); a message from the null sender, such as "
    "a bounce, may have 4.",
    sender="Send the message again for the other recipients, as mail servers do by themselves.",
)

UNKNOWN_COMMAND = _reply(
    500, "5.5.2", "Command not recognised", means="The server does not know this command.", sender=_CLIENT_FAULT
)
LINE_TOO_LONG = _reply(
    500,
    "5.5.2",
    "Line too long: {limit} octets at most",
    means="A command line is longer than RFC 5321 section 4.5.3.1.4 and the extensions allow.",
    sender=_CLIENT_FAULT,
)
NOT_UTF8 = _reply(
    500, "5.5.2", "Command is not valid UTF-8", means="A command has bytes that are not text.", sender=_CLIENT_FAULT
)
BAD_HELO = _reply(
    501,
    "5.5.4",
    "Syntax: {verb} your-host-name",
    means="The name is missing, or has a space or an invisible character.",
    sender="Set the host name of the sending server.",
)
BAD_MAIL = _reply(
    501,
    "5.5.4",
    "Syntax: MAIL FROM:<address> [parameters]",
    means="The sender is not an address in angle brackets.",
    sender=_CLIENT_FAULT,
)
BAD_RCPT = _reply(
    501,
    "5.5.4",
    "Syntax: RCPT TO:<address> [parameters]",
    means="The recipient is not an address in angle brackets.",
    sender=_CLIENT_FAULT,
)
BAD_BDAT = _reply(
    501,
    "5.5.4",
    "Syntax: BDAT size [LAST]",
    means="Without the size the server cannot tell the message from the next command, so the session ends.",
    sender=_CLIENT_FAULT,
)
BAD_PARAMETER = _reply(
    501,
    "5.5.4",
    "Bad value or repeated: {name}",
    means="A parameter of MAIL or RCPT has a value that its RFC does not allow.",
    sender=_CLIENT_FAULT,
)
NO_ARGUMENT = _reply(501, "5.5.4", "{verb} takes no argument", means="Something stood behind it.", sender=_CLIENT_FAULT)
NOT_IMPLEMENTED = _reply(
    502,
    "5.5.1",
    "Command not implemented",
    means="EXPN would reveal addresses; AUTH has no use, as nothing is relayed; STARTTLS needs a certificate.",
    sender="Go on without it.",
)
OUT_OF_ORDER = _reply(
    503, "5.5.1", "{verb} is out of order: {needed}", means="The command is out of order.", sender=_CLIENT_FAULT
)
NEEDS_TLS = _reply(
    530,
    "5.7.0",
    "Must issue a STARTTLS command first",
    means="The operator requires TLS for all mail.",
    sender="Turn on TLS for this destination.",
)
BARE_LINE_END = _reply(
    521,
    "5.5.2",
    "A line must end with <CR><LF>; bare <CR> or <LF> is not accepted",
    means="Other line ends can make one message look like two, so the session ends.",
    sender=_CLIENT_FAULT,
)
NOT_SMTP = _reply(
    521,
    "5.5.1",
    "This is not SMTP",
    means="The client sent an HTTP request, a header field or a TLS handshake in place of a command. The session "
    "ends, because a web page can make a browser send mail commands in the body of a request.",
    sender="Begin TLS after STARTTLS, or on the port for TLS. Send the message after the reply to DATA.",
)
NO_SUCH_USER = _reply(
    550,
    "5.1.1",
    "No such address here",
    means="The address does not exist here, and the server relays nothing to other servers.",
    sender="Check the spelling; tell the author of the message.",
)
NOT_AUTHENTIC = _reply(
    550,
    "5.7.26",
    "Neither SPF nor DKIM speaks for the domain in From, whose owner wants such mail refused (DMARC)",
    means="The message could not be authenticated as the sender that it names.",
    sender="Send through the servers of that domain, or sign the message with its DKIM key.",
)
TOO_MANY_AUTHORS = _reply(
    550,
    "5.7.1",
    "From names too many domains or addresses, or From or the header is too long; {limit} domains at most",
    means="The policies (DMARC) of so many domains cannot be looked up, or the header is not complete.",
    sender="Write one address in From.",
)
MESSAGE_TOO_BIG = _reply(
    552,
    "5.3.4",
    "Message too big: {limit} octets at most",
    means="EHLO shows the limit.",
    sender="Send a smaller message.",
)
HEADER_TOO_BIG = _reply(
    552,
    "5.3.4",
    "Message header too big: {octets} octets in {lines} lines at most",
    means="No mail needs such a header; it is an error, or an attack.",
    sender=_CLIENT_FAULT,
)
SOURCE_ROUTE = _reply(
    553,
    "5.1.3",
    "Source routes are not followed; name the address alone",
    means="The path has a source route, which RFC 5321 has deprecated.",
    sender="Name the address alone.",
)
NEEDS_SMTPUTF8 = _reply(
    553,
    "5.6.7",
    "A non-ASCII address needs the SMTPUTF8 parameter of MAIL",
    means="The address is not ASCII, and MAIL had no SMTPUTF8 parameter (RFC 6531).",
    sender=_CLIENT_FAULT,
)
EARLY_TALKER = _reply(
    554,
    "5.5.1",
    "You spoke before the greeting",
    means="The greeting is delayed; the client sent data before it.",
    sender=_CLIENT_FAULT,
)
BARE_LINE_END_IN_DATA = _reply(
    554,
    "5.5.2",
    "A line of the message ends with a bare <CR> or <LF>; not accepted",
    means="Other line ends can make one message look like two. After DATA the session ends too.",
    sender="Make the software write <CR><LF>, or send with BDAT and BODY=BINARYMIME.",
)
NO_RECIPIENTS = _reply(
    554,
    "5.5.1",
    "No valid recipients",
    means="All recipients were refused.",
    sender="See the replies to RCPT.",
)
MAIL_LOOP = _reply(
    554,
    "5.4.6",
    "{reason}",
    means="The message has been here before, or has more than 100 Received lines: it is in a mail loop.",
    sender="Find the server that forwards the address, and remove the loop.",
)
UNKNOWN_PARAMETER = _reply(
    555,
    "5.5.4",
    "Parameter not recognised: {name}",
    means="MAIL or RCPT has a parameter of an extension that EHLO did not offer.",
    sender=_CLIENT_FAULT,
)
