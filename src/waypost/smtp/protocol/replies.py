"""Every SMTP reply that the server can send, as a named value with an explanation for postmasters.

The enhanced codes come from RFC 3463 and its registry. `docs/smtp-replies.md` is generated from this file.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An SMTP reply: a code, an enhanced code (RFC 2034; none in greetings and the 354 reply), and lines of text."""

    code: int
    enhanced: str | None
    text: str
    means: str = field(compare=False)
    """An explanation for a person who reads the reply in the sending server's log."""
    sender: str = field(compare=False)
    """Advice for the sender; empty if there is nothing to do."""
    accepts: bool = field(init=False)
    """Whether the reply is positive, that is, whether its code is 2xx."""
    wire: bytes = field(init=False, repr=False, compare=False)
    """The reply as it is sent, with the code on each line (RFC 5321 section 4.2.1)."""

    def __post_init__(self) -> None:
        prefix = f"{self.enhanced} " if self.enhanced else ""
        *lines, last = self.text.split("\n")
        continued = "".join(f"{self.code}-{prefix}{line}\r\n" for line in lines)
        object.__setattr__(self, "accepts", 200 <= self.code < 300)
        object.__setattr__(self, "wire", f"{continued}{self.code} {prefix}{last}\r\n".encode())

    def __bytes__(self) -> bytes:
        """Return the reply as it is sent."""
        return self.wire

    def __str__(self) -> str:
        """Return the reply as text for the log."""
        return self.wire.decode().strip()

    def about(self, **details: object) -> "Reply":
        """Return a copy of the reply, with its placeholders replaced by these values."""
        text = self.text.format(**details)
        return Reply(code=self.code, enhanced=self.enhanced, text=text, means=self.means, sender=self.sender)


def _reply(code: int, enhanced: str | None, text: str, *, means: str, sender: str = "") -> Reply:
    return Reply(code=code, enhanced=enhanced, text=text, means=means, sender=sender)


_AGAIN = "Keep the message and retry later. Mail servers retry automatically."
_CLIENT_FAULT = "Report this error to the vendor of the sending software."


GREETING = _reply(220, None, "{hostname} {protocol} Waypost", means="The server is ready.")
READY_FOR_TLS = _reply(
    220,
    "2.0.0",
    "Ready to start TLS",
    means="The client may begin the TLS handshake. The server discards everything that it received before the "
    "handshake.",
    sender="Begin the handshake, then send EHLO again.",
)
HELO = _reply(250, None, "{hostname}", means="The reply to HELO: the server's host name, without extensions.")
EHLO = _reply(
    250, None, "{hostname}\n{extensions}", means="The reply to EHLO or LHLO: the server's host name and extensions."
)
OK = _reply(250, "2.0.0", "OK", means="The command was carried out.")
SENDER_OK = _reply(
    250, "2.1.0", "Sender OK", means="A mail transaction has begun. The reply does not mean that the sender exists."
)
RECIPIENT_OK = _reply(250, "2.1.5", "Recipient OK", means="The server accepts mail for this address.")
CHUNK_OK = _reply(
    250, "2.0.0", "{size} octets received", means="The server has received a BDAT chunk, and expects the next chunk."
)
GO_AHEAD = _reply(354, None, "End data with <CR><LF>.<CR><LF>", means="The client may send the message now.")
ACCEPTED = _reply(
    250,
    "2.0.0",
    "{id} accepted",
    means="The message is on disk, its deliveries are decided, and this server is now responsible for it. Use the id "
    "to find the message in the trace.",
)
HELP = _reply(214, "2.0.0", "{commands}\nSee RFC 5321", means="The commands that the client may use now.")
CANNOT_VERIFY = _reply(
    252,
    "2.0.0",
    "Cannot verify addresses; use RCPT to learn whether mail is accepted",
    means="The server does not verify addresses, because VRFY could be used to collect them.",
    sender="Send the mail. The reply to RCPT shows whether the server accepts mail for the address.",
)
BYE = _reply(221, "2.0.0", "Bye", means="The server ends the session, because the client sent QUIT.")

SHUTTING_DOWN = _reply(
    421,
    "4.3.2",
    "Server is shutting down; please try again later",
    means="The operator is stopping or restarting the server.",
    sender=_AGAIN,
)
TIMEOUT = _reply(
    421,
    "4.4.2",
    "Timeout while waiting for data from the client",
    means="The client did not send a complete command in time, or stopped in the middle of a message.",
    sender="Try again. If timeouts are frequent, check the network, and look for firewalls that drop packets.",
)
TOO_SLOW = _reply(
    421,
    "4.4.2",
    "Message transfer is too slow",
    means="The client sent the message too slowly. A client has one minute for a message, plus one second for every "
    "500 bytes that it has sent.",
    sender="Try again. If transfers are often too slow, check the network.",
)
TOO_MANY_CONNECTIONS = _reply(
    421,
    "4.7.0",
    "Too many connections from your address; please try again later",
    means="The client's address (for IPv6, its /64 network) has reached its limit on open connections or on new "
    "connections per minute. An IPv6 /48 network may use at most half of all connections.",
    sender="Open fewer connections at the same time. A client can send several messages over one connection.",
)
SERVER_FULL = _reply(
    421,
    "4.7.0",
    "Too many connections; please try again later",
    means="The server has reached its limit on open connections.",
    sender=_AGAIN,
)
TOO_MANY_ERRORS = _reply(
    421,
    "4.7.0",
    "Too many errors",
    means="The server has refused too many commands in this session, so the client does not look like a mail server.",
    sender="Read the earlier replies in the session. The server's log shows the last error.",
)
TOO_MANY_UNKNOWN = _reply(
    421,
    "4.7.0",
    "Too many unknown recipients",
    means="The client has named so many unknown recipients that it seems to be collecting addresses. The reply does "
    "not reveal whether the last recipient that the client named exists.",
    sender="Remove from the mailing list the addresses that got a 550 reply, and resend the messages that were not "
    "accepted.",
)
TOO_MANY_COMMANDS = _reply(
    421,
    "4.7.0",
    "Too many commands; please connect again",
    means="The session has reached the maximum number of messages (MAILMAX in the reply to EHLO), or the client has "
    "sent too many commands since its last accepted message.",
    sender="Open a new connection for further messages.",
)
TOO_MANY_MESSAGES = _reply(
    450,
    "4.7.1",
    "Too many messages from your address; please try again later",
    means="The client's address has reached the operator's limit on messages per minute.",
    sender=_AGAIN,
)
TRY_AGAIN = _reply(
    451,
    "4.3.0",
    "Temporary failure (id {id}); please try again",
    means="The server had an internal error, and did not accept the message. The server's log shows the cause, under "
    "the id in the reply.",
    sender=_AGAIN,
)
FAULT_BUSY = _reply(
    421,
    "4.3.2",
    "Service not available, as fault rule {rule} says",
    means="The server is for tests (`--testing yes`), and a fault rule defers the connection.",
    sender="Remove the fault rule.",
)
FAULT_DROPPED = _reply(
    421,
    "4.4.2",
    "Connection dropped, as fault rule {rule} says",
    means="The server is for tests (`--testing yes`), and a fault rule closed the connection without a reply. Only the "
    "trace has this reply.",
    sender="Remove the fault rule.",
)
FAULT_DEFERRED = _reply(
    451,
    "4.7.1",
    "Deferred, as fault rule {rule} says",
    means="The server is for tests (`--testing yes`), and a fault rule defers the mail.",
    sender="Remove the fault rule.",
)
MAGIC_DEFERRED = _reply(
    451,
    "4.3.0",
    "Deferred, because the recipient begins with {magic}+",
    means="The server is for tests (`--testing yes`), and defers mail for recipients that begin with `tempfail+`.",
    sender="Send mail to the address without its beginning.",
)
AUTHOR_IN_DOUBT = _reply(
    451,
    "4.7.0",
    "From does not have exactly one domain, and a DMARC policy cannot be looked up now; please try again",
    means="The From field does not have exactly one domain, and a DNS error prevented the server from looking up the "
    "DMARC policy of at least one of the domains that the field may name.",
    sender="Write exactly one address in From, and quote any display name that contains an @. Alternatively, retry "
    "later.",
)
AUTHENTICITY_IN_DOUBT = _reply(
    451,
    "4.7.0",
    "The sender cannot be authenticated now, because the DNS of the domain in From does not answer; please try again",
    means="The server could not look up the domain's DMARC policy, or an SPF or DKIM record that might authenticate "
    "the message.",
    sender="Try again later. If the error is frequent, check the DNS servers of the domain in From.",
)
NOT_CHECKED = _reply(
    451,
    "4.7.0",
    "The sender cannot be authenticated now ({reason}); please try again",
    means="The operator requires sender checks (DMARC). The server did not accept the message, because it cannot check "
    "the sender now.",
    sender=_AGAIN,
)
RECIPIENTS_CHANGED = _reply(
    451,
    "4.2.1",
    "{reason}",
    means="A recipient's email address was deleted between RCPT and the end of the message, so the server did not "
    "accept the message.",
    sender="Send the message again. The replies to RCPT will show which addresses still exist.",
)
NO_MEMORY = _reply(
    452,
    "4.3.1",
    "Not enough memory for a message now; please try again",
    means="The server's memory for incoming messages is used up.",
    sender=_AGAIN,
)
NO_DISK = _reply(
    452,
    "4.3.1",
    "Not enough disk space for a message now; please try again",
    means="The server's disk is nearly full. Accepted mail is safe, but the server accepts no further mail until there "
    "is enough space.",
    sender=_AGAIN,
)
TOO_MANY_RECIPIENTS = _reply(
    452,
    "4.5.3",
    "Too many recipients; a message can have at most {limit}",
    means="The message already has the maximum number of recipients (RCPTMAX in the reply to EHLO). A message from the "
    "null sender, such as a bounce, can have only 4 recipients.",
    sender="Send the message again to the remaining recipients. Mail servers resend automatically.",
)

UNKNOWN_COMMAND = _reply(
    500, "5.5.2", "Command not recognised", means="The server does not know this command.", sender=_CLIENT_FAULT
)
LINE_TOO_LONG = _reply(
    500,
    "5.5.2",
    "Line too long; the limit is {limit} octets",
    means="A command line is longer than RFC 5321 section 4.5.3.1.4 and the extensions allow.",
    sender=_CLIENT_FAULT,
)
NOT_UTF8 = _reply(
    500,
    "5.5.2",
    "Command is not valid UTF-8",
    means="A command contains bytes that are not valid UTF-8.",
    sender=_CLIENT_FAULT,
)
BAD_HELO = _reply(
    501,
    "5.5.4",
    "Syntax: {verb} your-host-name",
    means="The host name is missing, or contains a space or an invisible character.",
    sender="Configure a valid host name on the sending server.",
)
BAD_MAIL = _reply(
    501,
    "5.5.4",
    "Syntax: MAIL FROM:<address> [parameters]",
    means="The argument of MAIL is not a sender address in angle brackets.",
    sender=_CLIENT_FAULT,
)
BAD_RCPT = _reply(
    501,
    "5.5.4",
    "Syntax: RCPT TO:<address> [parameters]",
    means="The argument of RCPT is not a recipient address in angle brackets.",
    sender=_CLIENT_FAULT,
)
BAD_BDAT = _reply(
    501,
    "5.5.4",
    "Syntax: BDAT size [LAST]",
    means="The argument of BDAT is invalid, so the server cannot tell where the chunk ends and the next command "
    "begins. Therefore, the server ends the session.",
    sender=_CLIENT_FAULT,
)
BAD_PARAMETER = _reply(
    501,
    "5.5.4",
    "Invalid or repeated parameter: {name}",
    means="A parameter of MAIL or RCPT is repeated, or has a value that its RFC does not allow.",
    sender=_CLIENT_FAULT,
)
NO_ARGUMENT = _reply(
    501, "5.5.4", "{verb} does not accept an argument", means="The command takes no argument.", sender=_CLIENT_FAULT
)
NOT_IMPLEMENTED = _reply(
    502,
    "5.5.1",
    "Command not implemented",
    means="The server offers neither EXPN, which would reveal addresses, nor AUTH, which it does not need because it "
    "relays no mail. It offers STARTTLS only if it has a certificate.",
    sender="Continue without the command.",
)
OUT_OF_ORDER = _reply(
    503,
    "5.5.1",
    "{verb} is out of order: {needed}",
    means="The command is not allowed at this point in the session.",
    sender=_CLIENT_FAULT,
)
NEEDS_TLS = _reply(
    530,
    "5.7.0",
    "Must issue a STARTTLS command first",
    means="The operator requires TLS for all mail.",
    sender="Enable TLS for mail to this server.",
)
BARE_LINE_END = _reply(
    521,
    "5.5.2",
    "A line must end with <CR><LF>; a bare <CR> or <LF> is not accepted",
    means="A bare CR or LF can make one message look like two (SMTP smuggling), so the server ends the session.",
    sender=_CLIENT_FAULT,
)
NOT_SMTP = _reply(
    521,
    "5.5.1",
    "This is not SMTP",
    means="The client sent an HTTP request, a header field or a TLS handshake instead of a command. The server ends "
    "the session, because a web page can make a browser send SMTP commands in the body of an HTTP request.",
    sender="Send STARTTLS before the TLS handshake, or connect to the TLS port. Send the message only after the reply "
    "to DATA.",
)
NO_SUCH_USER = _reply(
    550,
    "5.1.1",
    "No such address here",
    means="The address does not exist here, and the server does not relay mail to other servers.",
    sender="Check the spelling, or tell the author of the message that the address does not exist.",
)
FAULT_REFUSED = _reply(
    550,
    "5.7.1",
    "Refused, as fault rule {rule} says",
    means="The server is for tests (`--testing yes`), and a fault rule refuses the mail.",
    sender="Remove the fault rule.",
)
MAGIC_REFUSED = _reply(
    550,
    "5.1.1",
    "No such address here, because the recipient begins with {magic}+",
    means="The server is for tests (`--testing yes`), and refuses mail for recipients that begin with `bounce+`.",
    sender="Send mail to the address without its beginning.",
)
NOT_AUTHENTIC = _reply(
    550,
    "5.7.26",
    "Message fails DMARC, and the domain in From has a policy to reject such mail",
    means="Neither SPF nor DKIM authenticates the message for the domain in From, and the domain's DMARC policy asks "
    "servers to reject such mail.",
    sender="Send the message through the servers of the domain in From, or sign it with that domain's DKIM key.",
)
TOO_MANY_AUTHORS = _reply(
    550,
    "5.7.1",
    "Too many addresses in From, or more than {limit} domains, or From or the header is too long",
    means="The From field has too many domains for the server to look up the DMARC policy of each one, or the server "
    "cannot read the whole From field.",
    sender="Write exactly one address in From.",
)
MESSAGE_TOO_BIG = _reply(
    552,
    "5.3.4",
    "Message too big; the limit is {limit} octets",
    means="The message is larger than the limit (SIZE in the reply to EHLO).",
    sender="Send a smaller message.",
)
HEADER_TOO_BIG = _reply(
    552,
    "5.3.4",
    "Message header too big; the limit is {octets} octets and {lines} lines",
    means="No legitimate message needs a header of this size, so the cause is an error or an attack.",
    sender=_CLIENT_FAULT,
)
SOURCE_ROUTE = _reply(
    553,
    "5.1.3",
    "Source routes are not supported; send only the address",
    means="The path contains a source route, which RFC 5321 deprecates.",
    sender="Send the address without a source route.",
)
NEEDS_SMTPUTF8 = _reply(
    553,
    "5.6.7",
    "A non-ASCII address requires the SMTPUTF8 parameter of MAIL",
    means="The address is not ASCII, and MAIL had no SMTPUTF8 parameter (RFC 6531).",
    sender=_CLIENT_FAULT,
)
EARLY_TALKER = _reply(
    554,
    "5.5.1",
    "Data received before the greeting",
    means="The client did not wait for the server's greeting before it sent data.",
    sender=_CLIENT_FAULT,
)
FAULT_NO_SERVICE = _reply(
    554,
    "5.3.2",
    "No service, as fault rule {rule} says",
    means="The server is for tests (`--testing yes`), and a fault rule refuses the connection.",
    sender="Remove the fault rule.",
)
BARE_LINE_END_IN_DATA = _reply(
    554,
    "5.5.2",
    "Message contains a bare <CR> or <LF>, which is not accepted",
    means="A bare CR or LF can make one message look like two (SMTP smuggling). If the client used DATA, the server "
    "also ends the session.",
    sender="Configure the sending software to end lines with <CR><LF>, or to send the message with BDAT and "
    "BODY=BINARYMIME.",
)
NO_RECIPIENTS = _reply(
    554,
    "5.5.1",
    "No valid recipients",
    means="The server refused all recipients of the message.",
    sender="The replies to RCPT give the reasons.",
)
MAIL_LOOP = _reply(
    554,
    "5.4.6",
    "{reason}",
    means="The message is in a mail loop: it has passed this server before, or has more than 100 Received fields.",
    sender="Find the server that forwards the message back to this server, and correct its configuration.",
)
UNKNOWN_PARAMETER = _reply(
    555,
    "5.5.4",
    "Parameter not recognised: {name}",
    means="MAIL or RCPT has a parameter of an extension that EHLO did not offer.",
    sender=_CLIENT_FAULT,
)
