"""The tables of a settings file, a row for each key: its type, its default and its help.

The reader of the file and the reference page are made of them.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import timedelta
from typing import Any, TypeVar

from waypost.config.types import DOMAIN, DURATION, SIZE, Type, Unfit
from waypost.domain import durations, errors
from waypost.domain.dsn.notices import Bounces
from waypost.domain.mail import routes
from waypost.domain.mail.delivery import Policy
from waypost.domain.mail.retention import Rule
from waypost.domain.mail.routes import Fault, LineEnds, Route, Tls

T = TypeVar("T")


class UnfitEntry(Unfit):
    """One of several values has the wrong type."""

    def __init__(self, place: int, words: str) -> None:
        super().__init__()
        self.place = place
        """Counted from 1."""
        self.words = words


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table."""

    type: Type[Any]
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
    return DOMAIN.read(_is_text(value).removesuffix("."))


def _is_size(value: Any) -> int:
    found = SIZE.read(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else 0
    if not found:
        raise Unfit
    return found


def _whole(least: int, most: int) -> Type[Any]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Unfit
        return value

    return Type(f"a number from {least} to {most}", read)


def _one_of(choices: Iterable[Any]) -> Type[Any]:
    """One of the members of a `StrEnum`; a hyphen in place of a space will do."""
    known = {str(choice): choice for choice in choices}

    def read(value: Any) -> Any:
        try:
            return known[_is_text(value).replace("-", " ")]
        except KeyError as error:
            raise Unfit from error

    *most, last = (f'"{name}"' for name in known)
    return Type(f"{', '.join(most)} or {last}", read)


def _some(type_: Type[Any], words: str, into: Callable[[Iterable[Any]], Any]) -> Type[Any]:
    """An array with at least one of a type_."""

    def read(value: Any) -> Any:
        if not isinstance(value, list) or not value:
            raise Unfit
        return into(entry(place, each) for place, each in enumerate(value, 1))

    def entry(place: int, value: Any) -> Any:
        try:
            return type_.read(value)
        except Unfit as error:
            raise UnfitEntry(place, type_.words) from error

    return Type(words, read)


TEXT = Type("a string that is not empty", _is_text)
FLAG = Type("true or false", _is_flag)
TIME = Type(f"a string: {DURATION.words}", lambda value: DURATION.read(_is_text(value)))
A_DOMAIN = Type(DOMAIN.words, _is_domain)


def written(value: Any) -> str:
    """A value as it would stand in a settings file; empty for none."""
    if value in {None, "", ()} or value == frozenset():
        return ""
    if isinstance(value, timedelta):
        return json.dumps(durations.written(value))
    if isinstance(value, tuple | frozenset):
        return f"[{', '.join(map(written, value))}]"
    return json.dumps(value)


def _of(made: type[Any], keys: Mapping[str, Key]) -> Mapping[str, Key]:
    """The keys of a table, each with the default that it has in the dataclass which is made of the table."""
    defaults = {member.name: member.default for member in fields(made)}
    return {
        name: replace(key, is_required=True)
        if defaults.get(name) is MISSING
        else replace(key, default=written(defaults.get(name)))
        for name, key in keys.items()
    }


def key(type_: Type[Any], default: T, text: str) -> T:
    """A row of a table, as the field of a dataclass."""
    value: T = field(default=default, metadata={"key": Key(type_, text, written(default))})
    return value


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
    ),
    "user": Key(TEXT, 'SMTP AUTH user name; needs a secret, and tls = "verify" or smtps://.'),
    **SECRETS,
    "allow_private": Key(
        FLAG,
        "Whether a webhook, or a mail server that the DNS names (mx:), may be in a private network or on this machine.",
    ),
    "connections": Key(_whole(1, 1000), "Simultaneous connections to this destination."),
}

ROUTE = _of(
    Route,
    {
        "match": Key(
            Type("a string", _is_match),
            "Which email addresses it is for: support@example.com, \\*@example.com, instance:ID, or \\* for all.",
        ),
        "to": Key(
            Type("a string", _is_target),
            "The target: inbox, smtp://HOST:PORT, smtps://HOST:PORT, mx: or mx:DOMAIN, lmtp://HOST:PORT, "
            "lmtp:///PATH, maildir:/PATH, https://HOST/PATH.",
        ),
        "keep": Key(FLAG, "Whether there is a copy in the inbox, too."),
        **_HOW,
        "rewrite_sender": Key(FLAG, "Whether the sender is rewritten (SRS) when mail leaves this server's domains."),
        "line_ends": Key(
            _one_of(LineEnds),
            "How lines end in a Maildir: lf, if every line of the message ends in CRLF, else as received; or as "
            "received.",
        ),
        "fault": Key(_one_of(Fault), "For tests: a fault to inject at each attempt."),
    },
)
"""What `[[route]]` may have."""

VIA = {name: ROUTE[name] for name in ("to", *_HOW)}
"""What `[delivery.bounces_via]` may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The settings of delivery: the keys of `[delivery]`, a row each. Made by hand it holds the defaults."""

    retry_schedule: tuple[timedelta, ...] = key(
        _some(TIME, 'an array of durations, as in ["1m", "5m", "1h"]', tuple),
        Policy().retry_schedule,
        "The pause after the first attempt, after the second, and so on; the last repeats.",
    )
    expire: timedelta = key(TIME, Policy().expire, "How long the server attempts to deliver a message.")
    bounces: Bounces = key(
        _one_of(Bounces),
        Bounces.AUTHENTICATED,
        "Which senders are told that their mail was not delivered: always all; authenticated, those that are sure to "
        "be who they say; never any.",
    )
    bounces_via: Route | None = key(
        Type("a string or a table", _is_via),
        None,
        "Where notices to senders go: a target, as `to` of a route, or a table of its own. Without it, only senders "
        "with an email address here are told.",
    )
    confirm_outside: bool = key(
        FLAG,
        False,
        "Whether a sender without an email address here is told that their mail has arrived, if they ask for it "
        "(NOTIFY=SUCCESS) and are sure to be who they say.",
    )
    delay_warning: timedelta | None = key(
        TIME, None, "After how long a sender gets a notice that mail is delayed; by default never."
    )
    srs_domain: str = key(
        A_DOMAIN,
        "",
        "The domain of rewritten senders (SRS), whose mail comes back to this server; by default no sender is "
        "rewritten.",
    )
    own_domains: frozenset[str] = key(
        _some(A_DOMAIN, 'an array of domains, as in ["example.com"]', frozenset),
        frozenset(),
        "Domains that let this server send for them, by SPF: their senders are never rewritten.",
    )
    connections: int = key(_whole(1, 10_000), 100, "Simultaneous connections to all destinations together.")

    @property
    def policy(self) -> Policy:
        """How long, and how often, deliveries are attempted."""
        return Policy(retry_schedule=self.retry_schedule, expire=self.expire)


DELIVERY: Mapping[str, Key] = {member.name: member.metadata["key"] for member in fields(Delivery)}
"""What `[delivery]` may have."""

RETENTION = _of(
    Rule,
    {
        "match": Key(Type("a string", _is_match), "Whose inboxes it is for, as in a route; the first that matches."),
        "age": Key(TIME, "The server deletes what it received longer ago than this."),
        "size": Key(
            Type(f"{SIZE.words}, more than 0", _is_size), "What an inbox keeps; the server deletes the oldest first."
        ),
    },
)
"""What `[[retention]]` may have."""

TABLES = {
    "[[route]]": ROUTE,
    "[delivery]": DELIVERY,
    "[delivery.bounces_via]": VIA,
    "[[retention]]": RETENTION,
}
"""All tables, as they are written."""
