"""What each key of a settings file takes: the tables by which it is read, and of which the reference is made."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from waypost.config.settings import A_DURATION, A_SIZE, read_duration, read_size
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.dsn.notices import Bounces
from waypost.domain.mail import routes
from waypost.domain.mail.routes import Fault, LineEnds, Route, Tls


class Unfit(Exception):
    """A value is none of the kind that its key takes."""


class UnfitEntry(Unfit):
    """One of several values is none of the kind that each must be."""

    def __init__(self, place: int, words: str) -> None:
        super().__init__(place, words)
        self.place = place
        """Counted from 1."""
        self.words = words


@dataclass(frozen=True, slots=True)
class Kind:
    """What a key takes."""

    words: str
    """What a value must be."""
    read: Callable[[Any], Any]
    """Raises `Unfit`; or `errors.Invalid`, if there is more to say than the words."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table."""

    kind: Kind
    text: str
    default: str = ""
    """As it would stand in the file; empty for none."""
    is_required: bool = False


def _is_text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Unfit
    return value


def _is_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unfit
    return value


def _is_match(value: Any) -> str:
    if re.match("@.", _is_text(value)):
        raise errors.Invalid(f"{value!r} matches nothing; say '*{value}' for all of a domain")
    return routes.checked(Route(match=_is_text(value), to=routes.INBOX)).match


def _is_target(value: Any) -> str:
    if _is_text(value) != routes.INBOX:
        routes.parse_target(value)
    return str(value)


def _is_via(value: Any) -> Any:
    if not isinstance(value, dict):
        return {"to": _is_text(value)}
    return value


def _is_domain(value: Any) -> str:
    try:
        return addresses.domain_key(_is_text(value).removesuffix("."))
    except errors.Invalid as error:
        raise Unfit from error


def _is_duration(value: Any) -> timedelta:
    found = read_duration(_is_text(value))
    if found is None:
        raise Unfit
    return found


def _is_size(value: Any) -> int:
    found = read_size(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if not found:
        raise Unfit
    return found


def _whole(least: int, most: int) -> Kind:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Unfit
        return value

    return Kind(f"a number from {least} to {most}", read)


def _one_of(choices: Iterable[Any]) -> Kind:
    """One of the members of a `StrEnum`; a hyphen in place of a space will do."""
    known = {str(choice): choice for choice in choices}

    def read(value: Any) -> Any:
        try:
            return known[_is_text(value).replace("-", " ")]
        except KeyError as error:
            raise Unfit from error

    *most, last = (f'"{name}"' for name in known)
    return Kind(f"{', '.join(most)} or {last}", read)


def _some(kind: Kind, words: str, into: Callable[[Iterable[Any]], Any]) -> Kind:
    """An array with at least one of a kind."""

    def read(value: Any) -> Any:
        if not isinstance(value, list) or not value:
            raise Unfit
        return into(entry(place, each) for place, each in enumerate(value, 1))

    def entry(place: int, value: Any) -> Any:
        try:
            return kind.read(value)
        except Unfit as error:
            raise UnfitEntry(place, kind.words) from error

    return Kind(words, read)


TEXT = Kind("a string that is not empty", _is_text)
FLAG = Kind("true or false", _is_flag)
DURATION = Kind(f"a string: {A_DURATION}", _is_duration)
DOMAIN = Kind("a domain, as in example.com", _is_domain)

SECRETS = {
    "secret_file": Key(
        TEXT,
        "A file with the password of the user, or with the key that signs what a webhook gets: one line, and nobody "
        "but its owner may read it.",
    ),
    "password_file": Key(TEXT, "The same as `secret_file`."),
    "secret_env": Key(TEXT, "The name of an environment variable that has it, in place of a file."),
}

_HOW = {
    "tls": Key(
        _one_of(Tls),
        "TLS with an SMTP or LMTP peer: none; opportunistic, if it is offered, whatever the certificate; require, "
        "whatever the certificate; verify, with a certificate that is good for the name of the host, which is the "
        "default with smtps://.",
        '"opportunistic"',
    ),
    "user": Key(TEXT, 'Who we are for an SMTP peer that wants to know; with a secret, and tls = "verify" or smtps://.'),
    **SECRETS,
    "allow_private": Key(
        FLAG,
        "Whether a webhook, or a mail server that the DNS names (mx:), may be in a private network or on this machine.",
        "false",
    ),
    "connections": Key(_whole(1, 1000), "At once to this destination.", "10"),
}

ROUTE = {
    "match": Key(
        Kind("a string", _is_match),
        "Which email addresses it is for: support@example.com, \\*@example.com, instance:ID, or \\* for all.",
        is_required=True,
    ),
    "to": Key(
        Kind("a string", _is_target),
        "Where it leads: inbox, smtp://HOST:PORT, smtps://HOST:PORT, mx: or mx:DOMAIN, lmtp://HOST:PORT, lmtp:///PATH, "
        "maildir:/PATH, https://HOST/PATH.",
        is_required=True,
    ),
    "keep": Key(FLAG, "Whether there is a copy in the inbox, too.", "false"),
    **_HOW,
    "rewrite_sender": Key(FLAG, "Whether the sender is rewritten (SRS) where it leaves our domains.", "true"),
    "line_ends": Key(
        _one_of(LineEnds),
        "How lines end in a Maildir: lf, if every line of the message ends in CRLF, else as received; or as received.",
        '"lf"',
    ),
    "fault": Key(_one_of(Fault), "For tests: what goes wrong on purpose at each attempt."),
}
"""What `[[route]]` may have."""

VIA = {"to": ROUTE["to"], **_HOW}
"""What `[delivery.bounces_via]` may have."""

DELIVERY = {
    "retry_schedule": Key(
        _some(DURATION, 'an array of durations, as in ["1m", "5m", "1h"]', tuple),
        "The pause after the first attempt, after the second, and so on; the last repeats.",
        '["1m", "5m", "15m", "30m", "1h", "2h", "4h"]',
    ),
    "expire": Key(DURATION, "After that long a message is given up.", '"5d"'),
    "bounces": Key(
        _one_of(Bounces),
        "Which senders are told that their mail was not delivered: always all; authenticated, those that are sure to "
        "be who they say; never any.",
        '"authenticated"',
    ),
    "bounces_via": Key(
        Kind("a string or a table", _is_via),
        "Where notices to senders go: a target, as `to` of a route, or a table of its own. Without it, only senders "
        "with an email address here are told.",
    ),
    "confirm_outside": Key(
        FLAG,
        "Whether a sender without an email address here is told that their mail has arrived, if they ask for it "
        "(NOTIFY=SUCCESS) and are sure to be who they say.",
        "false",
    ),
    "delay_warning": Key(DURATION, "After that long a sender is told that mail is late; by default never."),
    "srs_domain": Key(
        DOMAIN,
        "The domain of rewritten senders (SRS), whose mail comes back to us; by default no sender is rewritten.",
    ),
    "own_domains": Key(
        _some(DOMAIN, 'an array of domains, as in ["example.com"]', frozenset),
        "Domains that let this server send for them, by SPF: their senders are never rewritten.",
    ),
    "connections": Key(_whole(1, 10_000), "To all destinations together, at once.", "100"),
}
"""What `[delivery]` may have."""

RETENTION = {
    "match": Key(
        Kind("a string", _is_match), "Whose inboxes it is for, as in a route; the first that matches.", is_required=True
    ),
    "age": Key(DURATION, "What was received longer ago than this goes."),
    "size": Key(Kind(f"{A_SIZE}, more than 0", _is_size), "What an inbox keeps; the oldest goes first."),
}
"""What `[[retention]]` may have."""

TABLES = {
    "[[route]]": ROUTE,
    "[delivery]": DELIVERY,
    "[delivery.bounces_via]": VIA,
    "[[retention]]": RETENTION,
}
"""All tables, as they are written."""
