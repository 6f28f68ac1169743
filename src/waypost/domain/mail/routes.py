"""Routes: where mail for an email address goes besides, or instead of, its built-in inbox.

A route has three parts: which addresses it is for (`match`), where it leads (`to`), and how. The first that matches
wins; without one there is the inbox.

    match   support@example.com     one address
            *@example.com           all of a domain
            instance:ID             all of an instance, by its id
            *                       all

    to      inbox                           the inbox alone
            smtp://HOST:PORT                a mail server; without a port 25
            smtps://HOST:PORT               the same with TLS from the beginning; without a port 465
            mx:  or  mx:DOMAIN              the mail servers of the address's own domain, or of another one, by the DNS;
                                            on public addresses, but for `allow_private`
            lmtp://HOST:PORT                a mail store; lmtp:///PATH for its socket
            maildir:/PATH                   a Maildir on this machine
            https://HOST/PATH               a webhook; http:// only with `allow_private`
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail import hosts
from waypost.domain.mail.delivery import Protocol


class Tls(StrEnum):
    """What TLS a route wants of an SMTP or LMTP peer."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    """If it is offered, whatever the certificate; else in clear (RFC 7435). With smtps://, which is never in clear, it
    is `VERIFY`."""
    REQUIRE = "require"
    """Never in clear, whatever the certificate: it is not verified."""
    VERIFY = "verify"
    """Never in clear, and only with a certificate that is good for the name of the host."""


class Fault(StrEnum):
    """What goes wrong on purpose at each attempt, for tests of who uses Waypost."""

    TEMPFAIL = "tempfail"
    """Nothing is sent: as if the peer had answered 451."""
    PERMFAIL = "permfail"
    """Nothing is sent: as if the peer had answered 554."""
    SLOW = "slow"
    """It waits for some seconds before it is sent."""
    DROP_AFTER_DATA = "drop after data"
    """It is sent, and then as if the connection had broken before the reply: it will be sent again."""


class LineEnds(StrEnum):
    """How the lines of a message end in a Maildir."""

    LF = "lf"
    """LF alone, as programs that read files expect it, if every line of the message ends in CRLF; else as received."""
    AS_RECEIVED = "as received"
    """The octets as they are."""


INBOX = "inbox"

TARGET_LIMIT = 1000
"""Octets of a target, by which the queue is ordered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a route leads, taken apart."""

    protocol: Protocol
    host: str = ""
    """Of SMTP, LMTP and webhooks; without brackets for IPv6. Empty for a socket, and where the DNS is asked for MX.

    A name may end in a dot; then it is looked up as it is, without search domains.
    """
    port: int = 0
    path: str = ""
    """Of a socket or a Maildir."""
    is_tls: bool = False
    """Whether TLS is spoken from the beginning."""
    mx: str | None = None
    """The domain whose mail servers are meant; empty for that of the address itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route that has been checked: it can be used as it is."""

    match: str
    to: str
    keep: bool = False
    """Whether there is a copy in the inbox, too."""
    tls: Tls = Tls.OPPORTUNISTIC
    user: str = ""
    """For AUTH at an SMTP peer."""
    secret: str = field(default="", repr=False)
    """The password of the user, or the key that signs what a webhook gets."""
    rewrite_sender: bool = True
    """Whether the sender is rewritten (SRS) where it leaves our domains."""
    allow_private: bool = False
    """Whether a webhook, or a mail server that the DNS names (`mx:`), may be in a private network or on this machine.

    A host that the route names itself, as in smtp://HOST, may be anywhere.
    """
    connections: int = 10
    """At once to this destination."""
    line_ends: LineEnds = LineEnds.LF
    """For a Maildir."""
    fault: Fault | None = None

    @property
    def target(self) -> Target:
        """Where it leads. Raises `errors.Invalid` if that cannot be understood, which `checked` found out before."""
        return parse_target(self.to)

    @property
    def tls_in_use(self) -> Tls:
        """What TLS is spoken. With smtps:// certificates are verified unless `tls` is `require` (RFC 8314 section 4.1).

        That also holds for routes which an earlier version stored without saying so.
        """
        is_implicit = self.to.startswith("smtps:")
        return Tls.VERIFY if is_implicit and self.tls is not Tls.REQUIRE else self.tls

    @property
    def is_inbox(self) -> bool:
        """Whether it leads nowhere but to the inbox."""
        return self.to == INBOX

    @property
    def log_name(self) -> str:
        """Its name in the log, which may hold no email address: a digest of `match` and `to`, 12 hex digits.

        `waypost routes list` shows it beside the route.
        """
        return hashlib.sha256(f"{self.match}\n{self.to}".encode()).hexdigest()[:12]


INBOX_ROUTE = Route(match="*", to=INBOX, keep=True)
"""What holds where no route matches."""


def names_of(address: addresses.Address, instance_id: str | None) -> set[str]:
    """Each `match`, of a route or of a rule, that an address has.

    `instance_id` is None where the email address was deleted: then no `instance:ID` matches.
    """
    names = {"*", address.key, f"*@{address.key.rpartition('@')[2]}"}
    return names if instance_id is None else names | {f"instance:{instance_id}"}


def find(routes: Sequence[Route], address: addresses.Address, instance_id: str | None) -> Route:
    """The first route for an email address; the inbox if there is none."""
    if not routes:
        return INBOX_ROUTE
    names = names_of(address, instance_id)
    return next((route for route in routes if route.match in names), INBOX_ROUTE)


def never_used(routes: Sequence[Route]) -> tuple[int, int] | None:
    """The place of a route that no mail can reach, and of the one before it that takes all of it; None if all are used.

    Places are counted from 0.
    """
    places: dict[str, int] = {}
    for place, route in enumerate(routes):
        for taker in ("*", route.match, f"*@{route.match.rpartition('@')[2]}"):
            if taker in places:
                return place, places[taker]
        places[route.match] = place
    return None


def destination(route: Route, address: addresses.Address) -> str:
    """The name of where a delivery goes, by which deliveries wait and are counted; empty for the inbox."""
    if route.is_inbox:
        return ""
    return f"mx:{address.key.rpartition('@')[2]}" if route.to == "mx:" else route.to


def log_destination(destination: str) -> str:
    """A destination as the log may have it: without its path, which may hold an email address or a key.

    What is left out is shown as three dots; the trace of a message has the path.
    """
    scheme, _, rest = destination.partition(":")
    if scheme == "maildir" or rest.startswith("///"):
        return f"{scheme}:..."
    origin = re.split("[/?#]", rest.removeprefix("//"), maxsplit=1)[0]
    return destination if rest.rstrip("/") in {origin, f"//{origin}"} else f"{scheme}://{origin}/..."


def shown(target: str) -> str:
    """A target, a destination or another URL as people may read it: without what may be a secret in it.

    That is the query and the fragment, and a user and password before the host. An ellipsis stands for each. Only the
    connection itself is made with all of the URL.
    """
    if re.match("maildir:|mx:|lmtp:///", target):  # a path may have any character
        return target
    address, mark, _ = _parted(target)
    address = re.sub(r"\A([a-z][a-z0-9+.-]*:/*)[^/]*@", r"\1…@", address, flags=re.IGNORECASE)
    return f"{address}{mark}…" if mark else address


def without_secrets(text: str, target: str) -> str:
    """What somebody says of a target, as people may read it: an ellipsis stands for its query and the values in that.

    A peer or a library may repeat them. Values of less than 6 characters stay: they are words, not secrets.
    """
    _, mark, query = _parted(target)
    if not mark or shown(target) == target:
        return text
    text = text.replace(f"{mark}{query}", f"{mark}…")
    values = {value for part in re.split("[&;?#]", query) for value in (part, part.partition("=")[2])}
    spellings = {
        spelled
        for value in values
        for plain in (value, unquote(value), unquote_plus(value))
        for spelled in (plain, quote(plain), quote(plain, safe=""), quote_plus(plain))
    }
    for spelled in sorted(spellings, key=len, reverse=True):
        if len(spelled) >= _SHORTEST_SECRET:
            text = text.replace(spelled, "…")
    return text


_SHORTEST_SECRET = 6
"""Characters."""


def _parted(target: str) -> tuple[str, str, str]:
    """A URL up to its query or fragment, what sets that off, and the query or fragment."""
    found = re.search("[?#]", target)
    return (target[: found.start()], found[0], target[found.end() :]) if found else (target, "", "")


def revision(routes: Sequence[Route]) -> str:
    """A short name of these very routes, which is another one as soon as anything in them is. Secrets count, too."""
    text = "\n".join(repr((route, hashlib.sha256(route.secret.encode()).hexdigest())) for route in routes)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def checked(route: Route) -> Route:
    """The same route in its one spelling. Raises `errors.Invalid`, naming what is wrong and what it may be."""
    match = _checked_match(route.match)
    if route.is_inbox:
        if route.user or route.secret or route.fault or route.line_ends is not LineEnds.LF:
            raise errors.Invalid("a route to the inbox has neither user nor secret nor line_ends nor fault")
        return INBOX_ROUTE if match == "*" else Route(match=match, to=INBOX, keep=True)
    target = parse_target(route.to)
    if bool(route.user) and (not route.secret or target.protocol is not Protocol.SMTP):
        raise errors.Invalid("`user` is for smtp, smtps and mx, and needs a password")
    tls = _checked_tls(route, target)
    if route.secret and not route.user and target.protocol is not Protocol.WEBHOOK:
        raise errors.Invalid("a secret is for a user, or for a webhook")
    if target.protocol is Protocol.WEBHOOK and not route.secret:
        raise errors.Invalid(
            "A webhook needs a secret of at least 16 characters: name its file with --secret-file (`secret_file`)."
        )
    if target.protocol is Protocol.WEBHOOK and len(route.secret) < 16:
        raise errors.Invalid("the secret of a webhook must have at least 16 characters")
    if target.protocol is Protocol.WEBHOOK and not target.is_tls and not route.allow_private:
        raise errors.Invalid(
            "Use https://. For http:// in a private network add --allow-private (`allow_private = true`)."
        )
    _check_line_ends(route, target)
    if not 1 <= route.connections <= 1000:
        raise errors.Invalid("`connections` must be a number from 1 to 1000")
    return Route(**{name: getattr(route, name) for name in Route.__slots__} | {"match": match, "tls": tls})


def _checked_tls(route: Route, target: Target) -> Tls:
    is_smtps = target.is_tls and target.protocol is Protocol.SMTP
    tls = Tls.VERIFY if is_smtps and route.tls is Tls.OPPORTUNISTIC else route.tls
    if route.user and tls is not Tls.VERIFY:
        raise errors.Invalid('a password is only sent with tls = "verify", which is the default of smtps://')
    if is_smtps and tls is Tls.NONE:
        raise errors.Invalid('smtps:// is TLS from the beginning: say tls = "verify", or "require" for any certificate')
    return tls


def _check_line_ends(route: Route, target: Target) -> None:
    if route.line_ends is not LineEnds.LF and target.protocol is not Protocol.MAILDIR:
        raise errors.Invalid("`line_ends` is for a Maildir: all else gets the octets as they were received")


def parse_target(to: str) -> Target:
    """Take a target apart. Raises `errors.Invalid`."""
    if re.search(r"[\ud800-\udfff]", to):  # half a character, which JSON can write and nothing can send
        raise errors.Invalid(f"{shown(to)!a} is no text")
    if len(to.encode()) > TARGET_LIMIT:
        raise errors.Invalid(f"a target has {TARGET_LIMIT} octets at most")
    if re.match(r"(?!maildir:)(?!lmtp:///)[a-z]+:/*[^/]*@", to, re.IGNORECASE):
        raise errors.Invalid("a target has no user and no password in it: say them as user and secret, apart from it")
    if re.search(r"[\s\x00-\x20\x7f]", to):
        raise errors.Invalid(f"{shown(to)!r} has a space or a control character in it")
    scheme, _, rest = to.partition(":")
    if scheme == "mx":
        return Target(protocol=Protocol.SMTP, port=25, mx=_domain(rest, to) if rest else "")
    if scheme == "maildir":
        if not rest.startswith("/") or rest.startswith("//"):
            raise errors.Invalid(f"{to!r} needs the full path of a directory, as in maildir:/var/mail/support")
        return Target(protocol=Protocol.MAILDIR, path=rest)
    if scheme == "lmtp" and rest.startswith("///"):
        return Target(protocol=Protocol.LMTP, path=rest[2:])
    if scheme in _SCHEMES:
        return _with_host(scheme, to)
    raise errors.Invalid(f"{shown(to)!r} is no target: say inbox, {', '.join(_EXAMPLES)}")


_EXAMPLES = ("smtp://HOST:PORT", "smtps://HOST:PORT", "mx:", "lmtp://HOST:PORT", "maildir:/PATH", "https://HOST/PATH")

_SCHEMES = {
    "smtp": (Protocol.SMTP, 25, False),
    "smtps": (Protocol.SMTP, 465, True),
    "lmtp": (Protocol.LMTP, 24, False),
    "https": (Protocol.WEBHOOK, 443, True),
    "http": (Protocol.WEBHOOK, 80, False),
}


def _with_host(scheme: str, to: str) -> Target:
    protocol, port, is_tls = _SCHEMES[scheme]
    try:
        parts = urlsplit(to)
        host, port = parts.hostname or "", parts.port if parts.port is not None else port
    except ValueError as error:
        raise errors.Invalid(f"{shown(to)!r} is no target: {without_secrets(str(error), to)}") from error
    if not host or not port:
        raise errors.Invalid(f"{shown(to)!r} needs a host, as in {scheme}://mail.example.com:{port or 25}")
    if protocol is not Protocol.WEBHOOK and (parts.path.strip("/") or parts.query or parts.fragment):
        raise errors.Invalid(f"{shown(to)!r} has something behind the port")
    return Target(protocol=protocol, host=host if ":" in host else _host(host, to), port=port, is_tls=is_tls)


def _host(text: str, to: str) -> str:
    try:
        return hosts.parse(text)
    except errors.Invalid as error:
        raise errors.Invalid(f"{shown(to)!r} has no host name in it: {error.message}") from error


def _domain(text: str, to: str) -> str:
    """The domain of email addresses. A final dot is taken off: it says what holds for every such domain."""
    try:
        return addresses.domain_key(text.removesuffix("."))
    except errors.Invalid as error:
        raise errors.Invalid(f"{shown(to)!r} has no domain in it: {error.message}") from error


def _checked_match(match: str) -> str:
    if match == "*":
        return match
    if match.startswith("instance:"):
        if not re.fullmatch(r"instance:[0-9a-f-]{36}", match):
            raise errors.Invalid(f"{match!r} must be instance: and the id of an instance")
        return match
    local, at, domain = match.rpartition("@")
    if local == "*" and at:
        return f"*@{_domain(domain, match)}"
    try:
        return addresses.parse(match).key
    except errors.Invalid as error:
        raise errors.Invalid(
            f"{match!r} is not an email address: write support@example.com, *@example.com, instance:ID or *."
        ) from error


def without_secret(route: Route) -> dict[str, Any]:
    """What may be shown of a route, as JSON has it."""
    return {
        "log_name": route.log_name,
        "match": route.match,
        "to": shown(route.to),
        "keep": route.keep,
        "tls": str(route.tls_in_use),
        "user": route.user,
        "has_secret": bool(route.secret),
        "rewrite_sender": route.rewrite_sender,
        "allow_private": route.allow_private,
        "connections": route.connections,
        "line_ends": str(route.line_ends),
        "fault": str(route.fault) if route.fault else None,
    }
