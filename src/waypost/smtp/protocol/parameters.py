"""Parses the arguments of MAIL and RCPT: the address, and the parameters of the extensions that the server offers."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct, field

from waypost.domain.directory.addresses import Address
from waypost.domain.mail.messages import NO_DSN, Dsn, RecipientDsn
from waypost.smtp.protocol import grammar, replies
from waypost.smtp.protocol.replies import Reply

NO_PARAMETERS = RecipientDsn()

ARGUMENTS_KNOWN = 1_000
"""The maximum number of arguments of MAIL, and of RCPT, whose parsed form is kept, because clients repeat them. An
argument is at most `grammar.LONGEST_LINE` octets long.
"""

_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_ORCPT = re.compile(r"(?P<kind>[A-Za-z0-9][A-Za-z0-9-]*);(?P<address>.+)")


class Refused(Exception):
    """Raised if a command is refused. `reply` contains the reason."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Mail(NamedTuple):
    """The sender and the parameters of a MAIL command."""

    sender: str
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


class Transaction(Struct):
    """A mail transaction: the MAIL command, and the recipients from the accepted RCPT commands."""

    mail: Mail
    recipients: list[Address] = field(default_factory=list)
    notifications: list[RecipientDsn] = field(default_factory=list)
    notification: RecipientDsn = NO_PARAMETERS
    """The DSN parameters of the recipient that the server is looking up."""

    @property
    def dsn(self) -> Dsn:
        """The DSN parameters of the message and its recipients."""
        ret, envid = self.mail.ret, self.mail.envid
        is_requested = self.notifications.count(NO_PARAMETERS) < len(self.notifications)
        if not (is_requested or ret or envid):
            return NO_DSN
        return Dsn(ret, envid, tuple(self.notifications) if is_requested else ())


@lru_cache(maxsize=ARGUMENTS_KNOWN)
def read_mail(argument: str, *, message_limit: int) -> Mail:
    """Parse the argument of MAIL. Raises `Refused`."""
    path = _path(argument, "FROM", replies.BAD_MAIL)
    if not grammar.is_reverse_path(path.text):
        raise Refused(replies.BAD_MAIL)
    mail = _with_parameters(path, message_limit) if path.parameters else Mail(path.text)
    if not path.text.isascii() and not mail.smtputf8:
        raise Refused(replies.NEEDS_SMTPUTF8)
    return mail


def _with_parameters(path: grammar.Path, message_limit: int) -> Mail:
    size = _one_of(path, "SIZE", _is_size, default="0")
    if int(size) > message_limit:
        raise Refused(replies.MESSAGE_TOO_BIG.about(limit=message_limit))
    mail = Mail(
        sender=path.text,
        body=_one_of(path, "BODY", {"7BIT", "8BITMIME", "BINARYMIME"}.__contains__, default="7BIT"),
        smtputf8="SMTPUTF8" in path.parameters,
        ret=_one_of(path, "RET", {"FULL", "HDRS"}.__contains__),
        envid=_xtext(path, "ENVID", grammar.ENVID_LIMIT),
    )
    if path.parameters.get("SMTPUTF8"):  # SMTPUTF8 has no value
        raise Refused(replies.BAD_PARAMETER.about(name="SMTPUTF8"))
    _refuse_unknown(path, {"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID"})
    return mail


@lru_cache(maxsize=ARGUMENTS_KNOWN)
def read_rcpt(argument: str, *, smtputf8: bool, hostname: str) -> tuple[Address | None, RecipientDsn]:
    """Parse the argument of RCPT, and return the address and its DSN parameters.

    The address is None if the path is valid but cannot be an email address here. Raises `Refused`.
    """
    path = _path(argument, "TO", replies.BAD_RCPT)
    try:
        address = grammar.parse_recipient(path.text, hostname=hostname)
    except grammar.BadSyntax:
        raise Refused(replies.BAD_RCPT) from None
    dsn = NO_PARAMETERS
    if path.parameters:
        dsn = RecipientDsn(_notify(path), _orcpt(path))
        _refuse_unknown(path, {"NOTIFY", "ORCPT"})
    if not path.text.isascii() and not smtputf8:
        raise Refused(replies.NEEDS_SMTPUTF8)
    return address, dsn


def _path(argument: str, keyword: str, bad_syntax: Reply) -> grammar.Path:
    try:
        path = grammar.parse_path(argument, keyword)
    except grammar.BadSyntax:
        raise Refused(bad_syntax) from None
    except grammar.BadParameter as error:
        raise Refused(replies.BAD_PARAMETER.about(name=error.args[0])) from None
    if grammar.has_source_route(path.text):
        raise Refused(replies.SOURCE_ROUTE)
    return path


def _one_of(path: grammar.Path, name: str, is_good: Callable[[str], bool], *, default: str = "") -> str:
    """Return the value of a case-insensitive parameter, in capitals, or `default` if the parameter is missing.

    Raises `Refused` for an invalid value.
    """
    if name not in path.parameters:
        return default
    value = path.parameters[name].upper()
    if not is_good(value):
        raise Refused(replies.BAD_PARAMETER.about(name=name))
    return value


def _is_size(value: str) -> bool:
    """Return whether a value of SIZE is well-formed, that is, whether it consists of at most 20 digits (RFC 1870
    section 4).
    """
    return value.isascii() and value.isdecimal() and len(value) <= 20


def _xtext(path: grammar.Path, name: str, limit: int) -> str:
    """Return the decoded value of a parameter that is encoded as xtext. Raises `Refused` for a malformed value."""
    if name not in path.parameters:
        return ""
    encoded = path.parameters[name]
    decoded = grammar.decode_xtext(encoded) if len(encoded) <= limit else None
    if not decoded or not (decoded.isascii() and decoded.isprintable()):
        raise Refused(replies.BAD_PARAMETER.about(name=name))
    return decoded


def _notify(path: grammar.Path) -> tuple[str, ...]:
    """Return the words of NOTIFY: NEVER alone, or each of the other words at most once (RFC 3461 section 4.1).

    Raises `Refused` for other values.
    """
    if "NOTIFY" not in path.parameters:
        return ()
    words = tuple(path.parameters["NOTIFY"].upper().split(","))
    if words != ("NEVER",) and not (set(words) <= _NOTIFY and len(set(words)) == len(words)):
        raise Refused(replies.BAD_PARAMETER.about(name="NOTIFY"))
    return words


def _orcpt(path: grammar.Path) -> str:
    """Return the decoded value of ORCPT, as `type;address` (RFC 3461 section 4.2).

    The address type may also be `utf-8` (RFC 6533 section 3). Raises `Refused` for a malformed value.
    """
    if "ORCPT" not in path.parameters:
        return ""
    encoded = path.parameters["ORCPT"]
    match = _ORCPT.fullmatch(encoded) if len(encoded) <= grammar.ORCPT_LIMIT else None
    decoded = None
    if match:
        is_utf8 = match["kind"].lower() == "utf-8"
        decoded = (grammar.decode_unitext if is_utf8 else grammar.decode_xtext)(match["address"])
    if not match or not decoded or not decoded.isprintable():
        raise Refused(replies.BAD_PARAMETER.about(name="ORCPT"))
    return f"{match['kind']};{decoded}"


def _refuse_unknown(path: grammar.Path, known: set[str]) -> None:
    for name in path.parameters:
        if name not in known:
            raise Refused(replies.UNKNOWN_PARAMETER.about(name=name))
