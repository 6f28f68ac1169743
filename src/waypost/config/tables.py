"""The tables that a settings file can contain. Each table has one row for each key, with the key's type, default and
help.

These tables are used both to read the settings file and to generate the reference page for the settings.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, TypeVar

import msgspec.structs
from msgspec import NODEFAULT, Struct
from msgspec.structs import replace

from waypost.config.types import DOMAIN, DURATION, NETWORK, SIZE, Type, Unfit
from waypost.domain import durations, errors
from waypost.domain.dsn.notices import Bounces
from waypost.domain.mail import routes
from waypost.domain.mail.delivery import Policy
from waypost.domain.mail.fault_rules import Action, FaultRule, Stage
from waypost.domain.mail.retention import Rule
from waypost.domain.mail.routes import Fault, LineEnds, Route, Tls

T = TypeVar("T")


class UnfitEntry(Unfit):
    """One value in a list of values has the wrong type."""

    def __init__(self, place: int, words: str) -> None:
        super().__init__()
        self.place = place
        """The position of the wrong value, counted from 1."""
        self.words = words


class Key(Struct, frozen=True):
    """A key of a table in the settings file."""

    type: Type[Any]
    text: str
    default: str = ""
    """The default as it would be written in the file; empty if the key has no default."""
    is_required: bool = False
    is_reloadable: bool = True
    """Whether a running server uses a new value after SIGHUP. This applies only to the keys of `[delivery]`: the other
    tables are reloaded as a whole, or not at all."""


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
        raise errors.Invalid(f"{value!r} matches nothing; '*{value}' matches all addresses in the domain")
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


def _is_probability(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
        raise Unfit
    return float(value)


def _whole(least: int, most: int) -> Type[Any]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Unfit
        return value

    return Type(f"a number from {least} to {most}", read)


def _one_of(choices: Iterable[Any]) -> Type[Any]:
    """Return a type that accepts the members of a `StrEnum`. In the settings file, hyphens may replace the spaces in a
    value.
    """
    known = {str(choice): choice for choice in choices}

    def read(value: Any) -> Any:
        try:
            return known[_is_text(value).replace("-", " ")]
        except KeyError as error:
            raise Unfit from error

    *most, last = (f'"{name}"' for name in known)
    return Type(f"{', '.join(most)} or {last}", read)


def _some(type_: Type[Any], words: str, into: Callable[[Iterable[Any]], Any]) -> Type[Any]:
    """Return a type that accepts an array with at least one element, if every element has the type `type_`."""

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
    """Return a value as it would be written in a settings file; an empty string if there is no value."""
    if value in {None, "", ()} or value == frozenset():
        return ""
    if isinstance(value, timedelta):
        return json.dumps(durations.written(value))
    if isinstance(value, tuple | frozenset):
        return f"[{', '.join(map(written, value))}]"
    return json.dumps(value)


def _of(made: type[Any], keys: Mapping[str, Key]) -> Mapping[str, Key]:
    """Return the keys of a table with their defaults. `made` is the class to which the table is converted, and the
    defaults are those of its fields.
    """
    defaults = {member.name: member.default for member in msgspec.structs.fields(made)}
    return {
        name: replace(key, is_required=True)
        if defaults.get(name) is NODEFAULT
        else replace(key, default=written(defaults.get(name)))
        for name, key in keys.items()
    }


def key(type_: Type[Any], default: T, text: str, *, is_reloadable: bool = True) -> T:
    """Return a dataclass field for a key of a table."""
    row = Key(type_, text, written(default), is_reloadable=is_reloadable)
    value: T = field(default=default, metadata={"key": row})
    return value


SECRETS = {
    "secret_file": Key(
        TEXT,
        "A file with the user's password, or with the key that signs the requests to a webhook. The file must contain "
        "exactly one line, and only its owner may have access to it.",
    ),
    "password_file": Key(TEXT, "The same as `secret_file`."),
    "secret_env": Key(
        TEXT, "The name of an environment variable that contains the secret, as an alternative to a file."
    ),
}

_HOW = {
    "tls": Key(
        _one_of(Tls),
        'Whether the server uses TLS with an SMTP or LMTP peer. With "none", the server never uses TLS. With '
        '"opportunistic", the server uses TLS if the peer offers it, and accepts any certificate. With "require", the '
        'server sends only over TLS, but accepts any certificate. With "verify", the server sends only over TLS, and '
        'only if the certificate is valid for the host name. The default for smtps:// targets is "verify".',
    ),
    "user": Key(
        TEXT,
        'The user name for SMTP AUTH. A route with a user name needs a secret, and either tls = "verify" or an '
        "smtps:// target.",
    ),
    **SECRETS,
    "allow_private": Key(
        FLAG,
        "Whether a webhook, or a mail server found through MX records (mx:), may be on a private network or on this "
        "machine.",
    ),
    "connections": Key(_whole(1, 1000), "The maximum number of simultaneous connections to this destination."),
}

ROUTE = _of(
    Route,
    {
        "match": Key(
            Type("a string", _is_match),
            "The email addresses to which the route applies: support@example.com, \\*@example.com, instance:ID, or \\* "
            "for all.",
        ),
        "to": Key(
            Type("a string", _is_target),
            "The target of the route: inbox, smtp://HOST:PORT, smtps://HOST:PORT, mx: or mx:DOMAIN, lmtp://HOST:PORT, "
            "lmtp:///PATH, maildir:/PATH, or https://HOST/PATH.",
        ),
        "keep": Key(FLAG, "Whether the inbox also keeps a copy of the mail."),
        **_HOW,
        "rewrite_sender": Key(
            FLAG, "Whether the server rewrites the sender address (SRS) when it sends mail to another mail server."
        ),
        "line_ends": Key(
            _one_of(LineEnds),
            'The line endings of messages in a Maildir. With "lf", the server converts CRLF to LF if every line of '
            'the message ends in CRLF. With "as received", the server leaves all line endings unchanged.',
        ),
        "fault": Key(_one_of(Fault), "For tests: the fault to inject at each attempt."),
    },
)
"""The keys of a `[[route]]` table."""

VIA = {name: ROUTE[name] for name in ("to", *_HOW)}
"""The keys of a `[delivery.bounces_via]` table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The delivery settings: one field for each key of `[delivery]`, with its default."""

    retry_schedule: tuple[timedelta, ...] = key(
        _some(TIME, 'an array of durations, as in ["1m", "5m", "1h"]', tuple),
        Policy().retry_schedule,
        "The pauses between attempts: after the first attempt, after the second attempt, and so on. The last pause "
        "repeats.",
    )
    expire: timedelta = key(TIME, Policy().expire, "How long the server keeps trying to deliver a message.")
    bounces: Bounces = key(
        _one_of(Bounces),
        Bounces.AUTHENTICATED,
        'Which senders get a bounce if the server cannot deliver their mail: all senders ("always"), only senders '
        'whose address is authenticated ("authenticated"), or no senders ("never").',
    )
    bounces_via: Route | None = key(
        Type("a string or a table", _is_via),
        None,
        "The route for notices to senders: a target in the same form as a route's `to`, or a table with the keys of "
        "`[delivery.bounces_via]`. If this route is not set, only senders with an email address in this deployment "
        "get notices.",
    )
    confirm_outside: bool = key(
        FLAG,
        False,
        "Whether a sender without an email address in this deployment can get a delivery confirmation. The server "
        "sends a confirmation only if the sender asked for it (NOTIFY=SUCCESS) and the sender's address is "
        "authenticated.",
    )
    delay_warning: timedelta | None = key(
        TIME,
        None,
        "How long mail may be delayed before its sender gets a notice of the delay. By default, the server sends no "
        "such notices.",
    )
    srs_domain: str = key(
        A_DOMAIN,
        "",
        "The domain in rewritten sender addresses (SRS). Mail to this domain must reach this "
        "server. By default, the server does not rewrite senders.",
    )
    own_domains: frozenset[str] = key(
        _some(A_DOMAIN, 'an array of domains, as in ["example.com"]', frozenset),
        frozenset(),
        "Domains whose SPF records allow this server to send. The server never rewrites senders in these domains.",
    )
    connections: int = key(
        _whole(1, 10_000),
        100,
        "The maximum number of simultaneous connections to all destinations together.",
        is_reloadable=False,  # the limits on connections of clients follow from it at the start
    )

    @property
    def policy(self) -> Policy:
        """The delivery policy: how often, and for how long, the server attempts deliveries."""
        return Policy(retry_schedule=self.retry_schedule, expire=self.expire)


DELIVERY: Mapping[str, Key] = {member.name: member.metadata["key"] for member in fields(Delivery)}
"""The keys of the `[delivery]` table."""

RETENTION = _of(
    Rule,
    {
        "match": Key(
            Type("a string", _is_match),
            "The inboxes to which the rule applies, in the same form as a route's `match`. Only the first rule that "
            "matches an inbox applies to it.",
        ),
        "age": Key(
            TIME,
            "The maximum age of a message, counted from the time when the server received it. The server deletes "
            "messages that exceed this age.",
        ),
        "size": Key(
            Type(f"{SIZE.words}, more than 0", _is_size),
            "The maximum total size of the mail in an inbox. If the mail exceeds this size, the server deletes "
            "messages, the oldest first.",
        ),
    },
)
"""The keys of a `[[retention]]` table."""

FAULT = _of(
    FaultRule,
    {
        "stage": Key(
            _one_of(Stage),
            "The stage of the SMTP session: before the greeting, at MAIL, at RCPT, at DATA, or at the end of the "
            "message.",
        ),
        "action": Key(
            _one_of(Action),
            "What happens: the client gets a permanent refusal, a temporary refusal, or the usual reply after a delay; "
            '"drop" closes the connection and does not carry out the command, and "cut" carries it out but closes the '
            "connection before the reply.",
        ),
        "sender": Key(TEXT, "The senders to which the rule applies: an address, \\*@DOMAIN, <> or \\*."),
        "recipient": Key(
            TEXT,
            "The recipients to which the rule applies: an address, \\*@DOMAIN or \\*. One of them is enough.",
        ),
        "source": Key(Type(NETWORK.words, lambda value: NETWORK.read(_is_text(value))), "The clients: a network."),
        "larger_than": Key(
            Type(f"{SIZE.words}, more than 0", _is_size),
            'The rule applies only to larger messages. It needs the stage "message".',
        ),
        "probability": Key(
            Type("a number more than 0 and at most 1", _is_probability),
            "The probability that the rule applies.",
        ),
        "times": Key(_whole(1, 1_000_000), "How often the rule applies. By default, there is no limit."),
        "delay": Key(TIME, 'The delay of the action "delay", at most 10m.'),
        "reply": Key(TEXT, 'The reply of the actions "refuse" and "defer", such as 450 4.2.0 Mailbox busy.'),
    },
)
"""The keys of a `[[fault]]` table."""

TABLES = {
    "[[route]]": ROUTE,
    "[delivery]": DELIVERY,
    "[delivery.bounces_via]": VIA,
    "[[retention]]": RETENTION,
    "[[fault]]": FAULT,
}
"""All tables that a settings file can contain, keyed by their headings."""
