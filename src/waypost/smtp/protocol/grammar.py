"""The syntax of commands (RFC 5321 section 4.1), without their effects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from waypost.domain import errors
from waypost.domain.directory import addresses

LINE_LIMIT = 512
"""Octets of a command line with its CRLF (RFC 5321 section 4.5.3.1.4)."""

ENVID_LIMIT = 100
"""Characters of ENVID as it is written (RFC 3461 section 4.4)."""

ORCPT_LIMIT = 500
"""Characters of ORCPT as it is written (RFC 3461 section 4.2)."""

LINE_LIMITS = {
    "MAIL": LINE_LIMIT
    + 26  # SIZE (RFC 1870)
    + 17  # BODY (RFC 6152)
    + 10  # SMTPUTF8 (RFC 6531)
    + len(" RET=FULL ENVID=")
    + ENVID_LIMIT,
    "RCPT": LINE_LIMIT + len(" NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=") + ORCPT_LIMIT,
}
"""Commands whose lines may be longer, by their parameters."""

LONGEST_LINE = max(LINE_LIMITS.values())

NAME_LIMIT = 64
"""Characters of a parameter's name that are read, and repeated in a reply."""

_ATOM = r"[^\s\x00-\x1f\x7f-\x9f\u2028\u2029<>()\[\]\\,;:@\".]+"
_LOCAL = rf'{_ATOM}(?:\.{_ATOM})*|"(?:[^\x00-\x1f\x7f-\x9f\u2028\u2029\\"]|\\[^\x00-\x1f\x7f-\x9f\u2028\u2029])*"'
_HOST = r"[^\s\x00-\x1f\x7f-\x9f\u2028\u2029<>()\[\]\\,;:@\"]+|\[[0-9A-Za-z.:-]+\]"
_MAILBOX = re.compile(rf"(?P<local>{_LOCAL})@(?P<domain>{_HOST})")
"""RFC 5321 section 4.1.2 `Mailbox`, with the additions of RFC 6531; host names are not checked here."""

_PATH = re.compile(r'[ ]*<(?P<path>(?:"(?:[^\\"]|\\.)*"|[^<>"])*)>(?P<parameters>(?: .*)?)', re.DOTALL)
_PARAMETER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[^\s=\x00-\x1f\x7f]+))?")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_UNITEXT = re.compile(r"(?:[!-*,-<>-\[\]-~]|[^\x00-\x7f]|\\x\{[0-9A-F]{2,6}\})+")
_CHUNK = re.compile(r"(?P<size>[0-9]{1,20})(?P<last> LAST)?", re.IGNORECASE | re.ASCII)
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_HTTP_START = re.compile(
    rf"(?i:(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI)[ \r])|{_NAME}{{1,64}}:".encode()
)
"""A method of HTTP (RFC 9110 section 9.3, RFC 9113 section 3.4), or the name of a header field."""

_HTTP_REQUEST = re.compile(rf"{_NAME}+ [^\r\n]* HTTP/[0-9](?:\.[0-9])?\r\n".encode())
"""The first line of a request with whatever method (RFC 9112 section 3)."""

TLS_HANDSHAKE = b"\x16\x03"
"""How a ClientHello begins: a handshake record, in all versions of TLS (RFC 8446 section 5.1)."""

_HELO = re.compile(r"[!-~]{1,255}")


class BadSyntax(Exception):
    """A syntax error in a command."""


class BadParameter(Exception):
    """A syntax error in a parameter, or a parameter that is given twice. `args[0]` is its name."""


@dataclass(frozen=True, slots=True)
class Path:
    """The address and parameters of a MAIL or RCPT command. The address of `<>` is empty."""

    text: str
    parameters: Mapping[str, str]


def split_command(line: str) -> tuple[str, str]:
    """A command line, without its CRLF, as the verb in capitals and the argument."""
    verb, _, argument = line.partition(" ")
    # Some letters that are not ASCII have capitals that are, and a verb is ASCII.
    return verb.upper() if verb.isascii() else verb, argument.strip(" ")


def is_http(line: bytes | bytearray) -> bool:
    """Whether a line, or the beginning of one that is too long for any command, is HTTP, or a header field.

    No SMTP verb ends in a colon. Of a line that is too long only the beginning counts, however much of it was received.
    """
    if _HTTP_START.match(line):
        return True
    return len(line) <= LONGEST_LINE and _HTTP_REQUEST.fullmatch(line) is not None


def line_limit(line: bytes) -> int:
    """Octets that this command line may have, with its CRLF."""
    verb, _, _ = line[: len("MAIL ")].partition(b" ")
    return LINE_LIMITS.get(verb.upper().decode("ascii", "replace"), LINE_LIMIT)


def is_helo_name(argument: str) -> bool:
    """Whether this is accepted after HELO or EHLO: any single word of visible ASCII.

    Many real clients send a name that is not a domain; it is recorded and never trusted.
    """
    return _HELO.fullmatch(argument) is not None


def parse_path(argument: str, keyword: str) -> Path:
    """Read `FROM:<address> NAME=VALUE …` or `TO:<address> …`. Raises `BadSyntax`, `BadParameter`."""
    if argument[: len(keyword) + 1].upper() != f"{keyword}:":
        raise BadSyntax
    match = _PATH.fullmatch(argument[len(keyword) + 1 :])
    if match is None:
        raise BadSyntax
    return Path(match["path"], _parameters(match["parameters"]))


def is_reverse_path(path: str) -> bool:
    """Whether this can be a sender: a mailbox, or nothing for the null sender."""
    return not path or _mailbox(path) is not None


def has_source_route(path: str) -> bool:
    """Whether a path has a source route (RFC 5321 appendix C), which a server may refuse."""
    return path.startswith("@") and ":" in path


def parse_recipient(path: str, *, hostname: str) -> addresses.Address | None:
    """The address of a RCPT path, or None if it is valid but cannot be an email address here (an address literal, for
    example).

    `hostname` is the server's: `<Postmaster>` without a domain is an address there.

    Raises `BadSyntax`.
    """
    match = _mailbox(path)
    if match:
        local, domain = match["local"], match["domain"]
    elif path.lower() == "postmaster":  # the one path without a domain: RFC 5321 section 4.5.1
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
    if not path.isprintable():  # letters that cannot be seen, or turn the direction of others
        return None
    if match and match["domain"].startswith("[") and not _is_address_literal(match["domain"][1:-1]):
        return None
    return match


def _is_address_literal(text: str) -> bool:
    """RFC 5321 section 4.1.3, without its brackets. IPv6 is the only registered tag."""
    tag, colon, rest = text.partition(":")
    try:
        _ = IPv6Address(rest) if colon and tag.lower() == "ipv6" else IPv4Address(text)
    except ValueError:
        return False
    return True


def parse_chunk(argument: str) -> tuple[int, bool]:
    """The size of a BDAT chunk, and whether it is the last (RFC 3030 section 2). Raises `BadSyntax`."""
    match = _CHUNK.fullmatch(argument)
    if match is None:
        raise BadSyntax
    return int(match["size"]), match["last"] is not None


def decode_xtext(text: str) -> str | None:
    """RFC 3461 section 4: `+2B` is a plus sign. None if it is not xtext."""
    if not _XTEXT.fullmatch(text):
        return None
    return re.sub(r"\+(..)", lambda match: chr(int(match[1], 16)), text)


def decode_unitext(text: str) -> str | None:
    r"""RFC 6533 section 3: `\x{5C}` is a backslash, other letters are themselves. None if it is not in this form."""
    if not _UNITEXT.fullmatch(text):
        return None
    points = [int(number, 16) for number in re.findall(r"\\x\{([0-9A-F]+)\}", text)]
    if any(point > 0x10FFFF or 0xD800 <= point <= 0xDFFF for point in points):
        return None
    return re.sub(r"\\x\{([0-9A-F]+)\}", lambda match: chr(int(match[1], 16)), text)


def _shown(word: str) -> str:
    """The invalid parameter in visible ASCII, without an email address, because the log has the reply."""
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
