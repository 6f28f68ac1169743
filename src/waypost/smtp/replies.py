"""Every reply that we can give, as a named value. Enhanced codes are those of RFC 3463 and its registry."""


class Reply:
    """One reply: a code, an enhanced code (RFC 2034; none for greetings and 354), and lines of text."""

    __slots__ = ("_wire", "accepts", "code", "enhanced", "text")

    def __init__(self, code: int, enhanced: str | None, text: str) -> None:
        self.code = code
        self.enhanced = enhanced
        self.text = text
        self.accepts = 200 <= code < 300
        """Whether this is a yes."""
        prefix = f"{enhanced} " if enhanced else ""
        *lines, last = text.split("\n")
        continued = "".join(f"{code}-{prefix}{line}\r\n" for line in lines)
        self._wire = f"{continued}{code} {prefix}{last}\r\n".encode()

    def __bytes__(self) -> bytes:
        """As sent, each line with its code (RFC 5321 section 4.2.1)."""
        return self._wire

    def __str__(self) -> str:
        """As it would be logged."""
        return self._wire.decode().strip()

    def about(self, **details: object) -> "Reply":
        """The same reply with its placeholders filled."""
        return Reply(self.code, self.enhanced, self.text.format(**details))


GREETING = Reply(220, None, "{hostname} ESMTP Waypost")
HELO = Reply(250, None, "{hostname}")
EHLO = Reply(250, None, "{hostname}\nPIPELINING\nSIZE {size}\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nHELP")
OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
GO_AHEAD = Reply(354, None, "End data with <CR><LF>.<CR><LF>")
ACCEPTED = Reply(250, "2.0.0", "{id} accepted")
HELP = Reply(214, "2.0.0", "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT\nSee RFC 5321")
CANNOT_VERIFY = Reply(252, "2.0.0", "Send mail and we will see")
BYE = Reply(221, "2.0.0", "Bye")

SHUTTING_DOWN = Reply(421, "4.3.2", "Shutting down; please try again")
TIMEOUT = Reply(421, "4.4.2", "Nothing was heard from you for too long")
TRY_AGAIN = Reply(451, "4.3.0", "Temporary failure (id {id}); please try again")
RECIPIENTS_CHANGED = Reply(451, "4.2.1", "{reason}")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients: {limit} at most in one message")

UNKNOWN_COMMAND = Reply(500, "5.5.2", "Command not recognised")
LINE_TOO_LONG = Reply(500, "5.5.2", "Line too long: {limit} octets at most")
NOT_UTF8 = Reply(500, "5.5.2", "Command is not valid UTF-8")
BAD_HELO = Reply(501, "5.5.4", "Syntax: {verb} your-host-name")
BAD_MAIL = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]")
BAD_RCPT = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
BAD_PARAMETER = Reply(501, "5.5.4", "Bad value or repeated: {name}")
NO_ARGUMENT = Reply(501, "5.5.4", "{verb} takes no argument")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
OUT_OF_ORDER = Reply(503, "5.5.1", "{verb} is out of order: {needed}")
BARE_LINE_END = Reply(521, "5.5.2", "A line must end with <CR><LF>; bare <CR> or <LF> is not accepted")
NO_SUCH_USER = Reply(550, "5.1.1", "No such address here")
MESSAGE_TOO_BIG = Reply(552, "5.3.4", "Message too big: {limit} octets at most")
SOURCE_ROUTE = Reply(553, "5.1.3", "Source routes are not followed; name the address alone")
NEEDS_SMTPUTF8 = Reply(553, "5.6.7", "A non-ASCII address needs the SMTPUTF8 parameter of MAIL")
BARE_LINE_END_IN_DATA = Reply(554, "5.5.2", "A line of the message ends with a bare <CR> or <LF>; not accepted")
NO_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")
MAIL_LOOP = Reply(554, "5.4.6", "{reason}")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not recognised: {name}")
