"""The syntax of SMTP commands (RFC 5321 section 4.1). This module only parses commands and has no side effects."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

from waypost.domain import errors
from waypost.domain.directory import addresses

LINE_LIMIT = 512
"""The maximum number of octets in a command line, including its CRLF (RFC 5321 section 4.5.3.1.4)."""

ENVID_LIMIT = 100
"""The maximum number of characters in the encoded value of ENVID (RFC 3461 section 4.4)."""

ORCPT_LIMIT = 500
"""The maximum number of characters in the encoded value of ORCPT (RFC 3461 section 4.2)."""

LINE_LIMITS = {
    "MAIL": LINE_LIMIT
    + 26  # SIZE (RFC 1870)
    + 17  # BODY (RFC 6152)
    + 10  # SMTPUTF8 (RFC 6531)
    + len(" RET=FULL ENVID=")
    + ENVID_LIMIT,
    "RCPT": LINE_LIMIT + len(" NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=") + ORCPT_LIMIT,
}
"""The line limits, in octets, of the commands that may be longer than `LINE_LIMIT` because of their parameters."""

LONGEST_LINE = max(LINE_LIMITS.values())

NAME_LIMIT = 64
"""The maximum number of characters of a parameter's name that a reply repeats."""

_ATOM = r"[^\s\x00-\x1f\x7f-\x9f\u2028\u2029<>()\[\]\\,;:@\".]+"
_LOCAL = rf'{_ATOM}(?:\.{_ATOM})*|"(?:[^\x00-\x1f\x7f-\x9f\u2028\u2029\\"]|\\[^\x00-\x1f\x7f-\x9f\u2028\u2029])*"'
_HOST = r"[^\s\x00-\x1f\x7f-\x9f\u2028\u2029<>()\[\]\\,;:@\"]+|\[[0-9A-Za-z.:-]+\]"
_MAILBOX = re.compile(rf"(?P<local>{_LOCAL})@(?P<domain>{_HOST})")
"""A pattern for the `Mailbox` that RFC 5321 section 4.1.2 defines and RFC 6531 extends. The pattern does not check host
names."""

_PATH = re.compile(r'[ ]*<(?P<path>(?:"(?:[^\\"]|\\.)*"|[^<>"])*)>(?P<parameters>(?: .*)?)', re.DOTALL)
_PARAMETER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[^\s=\x00-\x1f\x7f]+))?")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_UNITEXT = re.compile(r"(?:[!-*,-<>-\[\]-~]|[^\x00-\x7f]|\\x\{[0-9A-F]{2,6}\})+")
_CHUNK = re.compile(r"(?P<size>[0-9]{1,20})(?P<last> LAST)?", re.IGNORECASE | re.ASCII)
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_HTTP_START = re.compile(
    rf"(?i:(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI)[ \r])|{_NAME}{{1,64}}:".encode()
)
"""An HTTP method (RFC 9110 section 9.3, RFC 9113 section 3.4), or the name of a header field."""

_HTTP_REQUEST = re.compile(rf"{_NAME}+ [^\r\n]* HTTP/[0-9](?:\.[0-9])?\r\n".encode())
"""The first line of an HTTP request with any method (RFC 9112 section 3)."""

TLS_HANDSHAKE = b"\x16\x03"
"""The first bytes of a ClientHello. In all versions of TLS, it is sent in a handshake record, which begins with these
bytes (RFC 8446 section 5.1)."""

_HELO = re.compile(r"[!-~]{1,255}")


class BadSyntax(Exception):
    """Raised for a syntax error in a command."""


class BadParameter(Exception):
    """Raised for a malformed or repeated parameter. `args[0]` is the name of the parameter."""


class Path(Struct, frozen=True):
    """The address and parameters of a MAIL or RCPT command. For the null sender `<>`, the address is empty."""

    text: str
    parameters: Mapping[str, str]


def split_command(line: str) -> tuple[str, str]:
    """Split a command line, without its CRLF, into the verb, in capitals, and the argument."""
    verb, _, argument = line.partition(" ")
    # SMTP verbs are ASCII, but some non-ASCII letters become ASCII letters when they are converted to capitals.
    return verb.upper() if verb.isascii() else verb, argument.strip(" ")


def is_http(line: bytes | bytearray) -> bool:
    """Return whether a line is the first line of an HTTP request, or looks like a header field. No SMTP verb ends in a
    colon, so a command is never mistaken for a header field.

    `line` may also be the beginning of a line that is too long for a command. The result for such a line does not
    depend on how much of the line has been received.
    """
    if _HTTP_START.match(line):
        return True
    return len(line) <= LONGEST_LINE and _HTTP_REQUEST.fullmatch(line) is not None


def line_limit(line: bytes) -> int:
    """Return the maximum length of this command line, in octets, including its CRLF."""
    verb, _, _ = line[: len("MAIL ")].partition(b" ")
    return LINE_LIMITS.get(verb.upper().decode("ascii", "replace"), LINE_LIMIT)


def is_helo_name(argument: str) -> bool:
    """Return whether the server accepts the argument of HELO or EHLO. The server accepts any single word of visible
    ASCII characters.

    The name need not be a domain, because many real clients send other names. The server records the name, but never
    trusts it.
    """
    return _HELO.fullmatch(argument) is not None


def parse_path(argument: str, keyword: str) -> Path:
    """Parse `FROM:<address> NAME=VALUE …` or `TO:<address> …`. Raises `BadSyntax` or `BadParameter`."""
    if argument[: len(keyword) + 1].upper() != f"{keyword}:":
        raise BadSyntax
    match = _PATH.fullmatch(argument[len(keyword) + 1 :])
    if match is None:
        raise BadSyntax
    return Path(match["path"], _parameters(match["parameters"]))


def is_reverse_path(path: str) -> bool:
    """Return whether a path can be the sender of a message. The path must be a mailbox, or an empty string for the null
    sender.
    """
    return not path or _mailbox(path) is not None


def has_source_route(path: str) -> bool:
    """Return whether a path has a source route (RFC 5321 appendix C), which a server may refuse."""
    return path.startswith("@") and ":" in path


def parse_recipient(path: str, *, hostname: str) -> addresses.Address | None:
    """Return the address in a RCPT path.

    Returns None if the path is valid but cannot be an email address here, for example if it has an address literal.
    `hostname` is the server's host name, which is the domain of a `<Postmaster>` path. Raises `BadSyntax`.
    """
    match = _mailbox(path)
    if match:
        local, domain = match["local"], match["domain"]
    elif path.lower() == "postmaster":  # the only path without a domain (RFC 5321 section 4.5.1)
        local, domain = path, hostname
    else:
        raise BadSyntax
    if local.startswith('"'):
        local = addresses.unquote(local)
    try:
        return addresses.from_parts(local, domain, text=path)
    except errors.Invalid:
        return None


def _mailbox(path: str) -> re.Match[str] | None:
    match = _MAILBOX.fullmatch(path)
    if not path.isprintable():  # refuses invisible characters, and characters that change the text direction
        return None
    if match and match["domain"].startswith("[") and not _is_address_literal(match["domain"][1:-1]):
        return None
    return match


def _is_address_literal(text: str) -> bool:
    """Return whether `text` is an address literal without its brackets (RFC 5321 section 4.1.3).

    IPv6 is the only tag that is registered for address literals.
    """
    tag, colon, rest = text.partition(":")
    try:
        _ = IPv6Address(rest) if colon and tag.lower() == "ipv6" else IPv4Address(text)
    except ValueError:
        return False
    return True


def parse_chunk(argument: str) -> tuple[int, bool]:
    """Return the size of a BDAT chunk, and whether the chunk is the last (RFC 3030 section 2). Raises `BadSyntax`."""
    match = _CHUNK.fullmatch(argument)
    if match is None:
        raise BadSyntax
    return int(match["size"]), match["last"] is not None


def decode_xtext(text: str) -> str | None:
    """Decode xtext (RFC 3461 section 4), in which `+2B` is a plus sign. Returns None for a string that is not xtext."""
    if not _XTEXT.fullmatch(text):
        return None
    return re.sub(r"\+(..)", lambda match: chr(int(match[1], 16)), text)


def decode_unitext(text: str) -> str | None:
    r"""Decode the `utf-8` address form of RFC 6533 section 3, in which `\x{5C}` is a backslash.

    Returns None for a string that is not in the `utf-8` address form.
    """
    if not _UNITEXT.fullmatch(text):
        return None
    points = [int(number, 16) for number in re.findall(r"\\x\{([0-9A-F]+)\}", text)]
    if any(point > 0x10FFFF or 0xD800 <= point <= 0xDFFF for point in points):
        return None
    return re.sub(r"\\x\{([0-9A-F]+)\}", lambda match: chr(int(match[1], 16)), text)


def _shown(word: str) -> str:
    """Return an invalid parameter in a form that is safe to log: visible ASCII without an email address."""
    before, at, _ = word.partition("@")
    return ascii(f"{before[: before.rfind('=') + 1]}..." if at else word)[1:-1]


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in filter(None, text.split(" ")):
        match = _PARAMETER.fullmatch(word)
        name = (match["name"].upper() if match else _shown(word))[:NAME_LIMIT]
        if match is None or name in found:
            raise BadParameter(name)
        found[name] = match["value"] or ""
    return found
