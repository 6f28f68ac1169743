"""How commands are written (RFC 5321 section 4.1), and nothing about what they do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from waypost.domain import addresses, errors

LINE_LIMIT = 512
"""Octets of a command line with its CRLF (RFC 5321 section 4.5.3.1.4)."""

MAIL_LINE_LIMIT = LINE_LIMIT + 26 + 17 + 10
"""MAIL may be longer by SIZE (RFC 1870), BODY (RFC 6152) and SMTPUTF8 (RFC 6531)."""

NAME_LIMIT = 64
"""Characters of a parameter's name that are looked at, and repeated in a reply."""

_ATOM = r"[^\s\x00-\x1f\x7f-\x9f\u2028\u2029<>()\[\]\\,;:@\".]+"
_LOCAL = rf'{_ATOM}(?:\.{_ATOM})*|"(?:[^\x00-\x1f\x7f-\x9f\u2028\u2029\\"]|\\[^\x00-\x1f\x7f-\x9f\u2028\u2029])*"'
_HOST = r"[^\s\x00-\x1f\x7f<>()\[\]\\,;:@\"]+|\[[0-9A-Za-z.:-]+\]"
_MAILBOX = re.compile(rf"(?P<local>{_LOCAL})@(?P<domain>{_HOST})")
"""RFC 5321 section 4.1.2 `Mailbox`, with what RFC 6531 adds; what a host name may be is not decided here."""

_PATH = re.compile(r'[ ]*<(?P<path>(?:"(?:[^\\"]|\\.)*"|[^<>"])*)>(?P<parameters>(?: .*)?)', re.DOTALL)
_PARAMETER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[^\s=\x00-\x1f\x7f]+))?")
_HELO = re.compile(r"[!-~]{1,255}")


class BadSyntax(Exception):
    """A command is not written as it must be."""


class BadParameter(Exception):
    """A parameter is not written as it must be, or is given twice. `args[0]` is its name."""


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


def is_helo_name(argument: str) -> bool:
    """Whether this can stand behind HELO or EHLO: anything that is one word of visible ASCII.

    Many real clients say a name that is no domain; it is recorded and never believed.
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
    return not path or _MAILBOX.fullmatch(path) is not None


def has_source_route(path: str) -> bool:
    """Whether a path names hosts to go through (RFC 5321 appendix C), which a server may decline to do."""
    return path.startswith("@") and ":" in path


def parse_recipient(path: str) -> addresses.Address | None:
    """The address of a RCPT path, or None if it is well written but can be none of ours (a literal, say).

    Raises `BadSyntax`.
    """
    if path.lower() == "postmaster":  # the one path without a domain, RFC 5321 section 4.5.1
        return None
    match = _MAILBOX.fullmatch(path)
    if match is None:
        raise BadSyntax
    local = match["local"]
    if local.startswith('"'):
        local = addresses.unquote(local)
    try:
        return addresses.from_parts(local, match["domain"], text=path)
    except errors.Invalid:
        return None


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        name = (match["name"].upper() if match else ascii(word)[1:-1])[:NAME_LIMIT]
        if match is None or name in found:
            raise BadParameter(name)
        found[name] = match["value"] or ""
    return found
