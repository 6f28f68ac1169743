"""The routes, which send an email address's mail to a destination, either instead of the inbox or in addition to it.

A route has three parts: the addresses that it applies to (`match`), its target (`to`), and its options. The first route
that matches an address is used. If no route matches, mail goes to the inbox.

    match   support@example.com     one address
            *@example.com           all addresses of a domain
            instance:ID             all addresses of an instance
            *                       all addresses

    to      inbox                           only the inbox
            smtp://HOST:PORT                a mail server; the default port is 25
            smtps://HOST:PORT               a mail server with implicit TLS; the default port is 465
            mx:  or  mx:DOMAIN              the mail servers (MX) of the address's own domain, or of DOMAIN;
                                            on private addresses only with `allow_private`
            lmtp://HOST:PORT                a mail store; lmtp:///PATH for a local socket
            maildir:/PATH                   a Maildir on this machine
            https://HOST/PATH               a webhook; http:// only with `allow_private`
"""

import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from waypost.domain import errors, representation
from waypost.domain.directory import addresses
from waypost.domain.mail import hosts
from waypost.domain.mail.delivery import Protocol


class Tls(StrEnum):
    """A route's TLS requirements for an SMTP or LMTP peer."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    """Use TLS with any certificate if the peer offers TLS; otherwise send without TLS (RFC 7435).

    For smtps://, which always uses TLS, this mode means the same as `VERIFY`.
    """
    REQUIRE = "require"
    """Always use TLS, but do not verify the certificate."""
    VERIFY = "verify"
    """Always use TLS, and require a certificate that is valid for the host."""


class Fault(StrEnum):
    """A fault that is injected into each attempt, to test software that uses Waypost."""

    TEMPFAIL = "tempfail"
    """The attempt sends nothing, and fails as if the peer had replied 451."""
    PERMFAIL = "permfail"
    """The attempt sends nothing, and fails as if the peer had replied 554."""
    SLOW = "slow"
    """The attempt waits for a few seconds before it sends the message."""
    DROP_AFTER_DATA = "drop after data"
    """The attempt sends the message, but fails as if no reply had arrived, so the message is sent again later."""


class LineEnds(StrEnum):
    """The line endings of a message in a Maildir."""

    LF = "lf"
    """Lines end in LF, as programs that read files expect.

    A message is left unchanged if one of its lines does not end in CRLF.
    """
    AS_RECEIVED = "as received"
    """The bytes of the message are not changed."""


INBOX = "inbox"

TARGET_LIMIT = 1000
"""The maximum length of a target, in bytes.

The length is limited because the database has an index of the queue by target, and the keys of an index must be short.
"""


class Target(Struct, frozen=True, kw_only=True):
    """The parsed target of a route."""

    protocol: Protocol
    host: str = ""
    """The host for SMTP, LMTP and webhooks. An IPv6 address is written without brackets.

    The host is empty for a socket, a Maildir and `mx:`. If the host name ends in a dot, the resolver does not append
    search domains.
    """
    port: int = 0
    path: str = ""
    """The path of a socket or a Maildir."""
    is_tls: bool = False
    """Whether the connection begins with TLS (implicit TLS)."""
    mx: str | None = None
    """The domain whose MX records are used; None if the target is not `mx:`.

    If the domain is empty, the domain of the email address is used.
    """


class Route(Struct, frozen=True, kw_only=True):
    """A route. Use `checked` to validate a route and to get its canonical spelling."""

    match: str
    to: str
    keep: bool = False
    """Whether the inbox also keeps a copy of the mail."""
    tls: Tls = Tls.OPPORTUNISTIC
    user: str = ""
    """The user name for AUTH with an SMTP peer."""
    secret: str = ""
    """The user's password, or the key that signs requests to a webhook."""
    rewrite_sender: bool = True
    """Whether the sender is rewritten (SRS) if the message leaves this server's domains."""
    allow_private: bool = False
    """Whether a webhook or a mail server found through MX records (`mx:`) may be on a private network or on this
    machine.

    A host that the route itself names, as in smtp://HOST, may be on any network.
    """
    connections: int = 10
    """The maximum number of simultaneous connections to this destination."""
    line_ends: LineEnds = LineEnds.LF
    """The line endings of messages in a Maildir."""
    fault: Fault | None = None

    def __repr__(self) -> str:
        """Return the fields without the secrets."""
        return representation.without(self, "secret")

    @property
    def target(self) -> Target:
        """The parsed target of the route.

        Raises `errors.Invalid` if the target is malformed; `checked` refuses such routes.
        """
        return parse_target(self.to)

    @property
    def tls_in_use(self) -> Tls:
        """The TLS mode that the route uses.

        For smtps://, the mode is `VERIFY` unless `tls` is `REQUIRE` (RFC 8314 section 4.1). The rule for smtps:// also
        applies to routes that an earlier version stored with a different mode.
        """
        is_implicit = self.to.startswith("smtps:")
        return Tls.VERIFY if is_implicit and self.tls is not Tls.REQUIRE else self.tls

    @property
    def is_inbox(self) -> bool:
        """Whether the route's only target is the inbox."""
        return self.to == INBOX

    @property
    def log_name(self) -> str:
        """The name of the route in the log: the first 12 hexadecimal digits of a digest of `match` and `to`.

        A digest is used because the log must not contain email addresses. `waypost routes list` shows the name next to
        the route.
        """
        return hashlib.sha256(f"{self.match}\n{self.to}".encode()).hexdigest()[:12]


INBOX_ROUTE = Route(match="*", to=INBOX, keep=True)
"""The route that is used if no configured route matches."""


def names_of(address: addresses.Address, instance_id: str | None) -> set[str]:
    """Return all `match` values with which a route or a retention rule would match an address.

    `instance_id` is None if the email address was deleted. Then no `instance:ID` matches.
    """
    names = {"*", address.key, f"*@{address.key.rpartition('@')[2]}"}
    return names if instance_id is None else names | {f"instance:{instance_id}"}


def find(routes: Sequence[Route], address: addresses.Address, instance_id: str | None) -> Route:
    """Return the first route that matches an email address, or the route to the inbox if no route matches."""
    if not routes:
        return INBOX_ROUTE
    names = names_of(address, instance_id)
    return next((route for route in routes if route.match in names), INBOX_ROUTE)


def never_used(routes: Sequence[Route]) -> tuple[int, int] | None:
    """Return the index of a route that is never used, and the index of the earlier route that is always used instead.

    Indexes start at 0. The result is None if every route can be used.
    """
    places: dict[str, int] = {}
    for place, route in enumerate(routes):
        for taker in ("*", route.match, f"*@{route.match.rpartition('@')[2]}"):
            if taker in places:
                return place, places[taker]
        places[route.match] = place
    return None


def destination(route: Route, address: addresses.Address) -> str:
    """Return the name of a route's destination for an address; empty for the inbox.

    The queue orders and counts deliveries by this name.
    """
    if route.is_inbox:
        return ""
    return f"mx:{address.key.rpartition('@')[2]}" if route.to == "mx:" else route.to


@lru_cache(maxsize=1024)
def log_destination(destination: str) -> str:
    """Return a destination in the form that the log uses, with three dots in place of its path.

    The path is hidden because it may contain an email address or a key. A message's trace contains the whole path.
    """
    scheme, _, rest = destination.partition(":")
    if scheme == "maildir" or rest.startswith("///"):
        return f"{scheme}:..."
    origin = re.split("[/?#]", rest.removeprefix("//"), maxsplit=1)[0]
    return destination if rest.rstrip("/") in {origin, f"//{origin}"} else f"{scheme}://{origin}/..."


def shown(target: str) -> str:
    """Return a target, a destination or another URL in a form that is safe to show, without parts that may be secret.

    An ellipsis replaces the query, the fragment, and any user and password before the host. Only the code that makes
    the connection uses the whole URL.
    """
    if re.match("maildir:|mx:|lmtp:///", target):  # a path may contain any character
        return target
    address, mark, _ = _parted(target)
    address = re.sub(r"\A([a-z][a-z0-9+.-]*:/*)[^/]*@", r"\1…@", address, flags=re.IGNORECASE)
    return f"{address}{mark}…" if mark else address


def without_secrets(text: str, target: str) -> str:
    """In a text about a target, replace the target's query and each value in the query with an ellipsis.

    A peer or a library may repeat the secrets in a URL in its error messages. Query values of fewer than
    `_SHORTEST_SECRET` characters are kept, because they are assumed to be words, not secrets.
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
"""The minimum length, in characters, at which a value in a URL's query is treated as a secret."""


def _parted(target: str) -> tuple[str, str, str]:
    """Split a URL into the part before its query or fragment, the separator (`?` or `#`), and the query or fragment."""
    found = re.search("[?#]", target)
    return (target[: found.start()], found[0], target[found.end() :]) if found else (target, "", "")


def revision(routes: Sequence[Route]) -> str:
    """Return a digest of the routes. The digest changes if anything in a route changes, including the secret."""
    text = "\n".join(repr((route, hashlib.sha256(route.secret.encode()).hexdigest())) for route in routes)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def checked(route: Route) -> Route:
    """Return a route in its canonical spelling.

    If the route is not valid, raises `errors.Invalid` with a message that names the mistake and the allowed values.
    """
    match = _checked_match(route.match)
    if route.is_inbox:
        if route.user or route.secret or route.fault or route.line_ends is not LineEnds.LF:
            raise errors.Invalid("a route to the inbox cannot have a user, secret, line_ends or fault")
        return INBOX_ROUTE if match == "*" else Route(match=match, to=INBOX, keep=True)
    target = parse_target(route.to)
    if bool(route.user) and (not route.secret or target.protocol is not Protocol.SMTP):
        raise errors.Invalid("`user` is only for smtp, smtps and mx, and requires a password")
    tls = _checked_tls(route, target)
    if route.secret and not route.user and target.protocol is not Protocol.WEBHOOK:
        raise errors.Invalid("`secret` is only for a user or a webhook")
    if target.protocol is Protocol.WEBHOOK and not route.secret:
        raise errors.Invalid(
            "A webhook needs a secret of at least 16 characters. "
            "Name the file that contains the secret with --secret-file (`secret_file`)."
        )
    if target.protocol is Protocol.WEBHOOK and len(route.secret) < 16:
        raise errors.Invalid("the secret of a webhook must have at least 16 characters")
    if target.protocol is Protocol.WEBHOOK and not target.is_tls and not route.allow_private:
        raise errors.Invalid(
            "Use https://. To use http:// on a private network, add --allow-private (`allow_private = true`)."
        )
    _check_line_ends(route, target)
    if not 1 <= route.connections <= 1000:
        raise errors.Invalid("`connections` must be a number from 1 to 1000")
    return replace(route, match=match, tls=tls)


def _checked_tls(route: Route, target: Target) -> Tls:
    is_smtps = target.is_tls and target.protocol is Protocol.SMTP
    tls = Tls.VERIFY if is_smtps and route.tls is Tls.OPPORTUNISTIC else route.tls
    if route.user and tls is not Tls.VERIFY:
        raise errors.Invalid('a password requires tls = "verify", which is the default for smtps://')
    if is_smtps and tls is Tls.NONE:
        raise errors.Invalid('smtps:// always uses TLS: use tls = "verify", or "require" to accept any certificate')
    return tls


def _check_line_ends(route: Route, target: Target) -> None:
    if route.line_ends is not LineEnds.LF and target.protocol is not Protocol.MAILDIR:
        raise errors.Invalid("`line_ends` is only for a Maildir: other targets get messages exactly as received")


@lru_cache(maxsize=1024)
def parse_target(to: str) -> Target:
    """Parse a target. Raises `errors.Invalid` if the target is malformed."""
    if re.search(r"[\ud800-\udfff]", to):  # an unpaired surrogate, which JSON can express but UTF-8 cannot
        raise errors.Invalid(f"{shown(to)!a} is not valid text")
    if len(to.encode()) > TARGET_LIMIT:
        raise errors.Invalid(f"a target may have at most {TARGET_LIMIT} bytes")
    if re.match(r"(?!maildir:)(?!lmtp:///)[a-z]+:/*[^/]*@", to, re.IGNORECASE):
        raise errors.Invalid("a target cannot contain a user or a password: give them separately, as user and secret")
    if re.search(r"[\s\x00-\x20\x7f]", to):
        raise errors.Invalid(f"{shown(to)!r} contains a space or a control character")
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
    raise errors.Invalid(f"{shown(to)!r} is not a target: use inbox, {', '.join(_EXAMPLES)}")


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
        raise errors.Invalid(f"{shown(to)!r} is not a target: {without_secrets(str(error), to)}") from error
    if not host or not port:
        raise errors.Invalid(f"{shown(to)!r} needs a host, as in {scheme}://mail.example.com:{port or 25}")
    if protocol is not Protocol.WEBHOOK and (parts.path.strip("/") or parts.query or parts.fragment):
        raise errors.Invalid(f"{shown(to)!r} has extra text after the host or port")
    return Target(protocol=protocol, host=host if ":" in host else _host(host, to), port=port, is_tls=is_tls)


def _host(text: str, to: str) -> str:
    try:
        return hosts.parse(text)
    except errors.Invalid as error:
        raise errors.Invalid(f"{shown(to)!r} has no valid host name: {error.message}") from error


def _domain(text: str, to: str) -> str:
    """Return the canonical form of an email domain.

    The canonical form has no final dot, because email domains are always fully qualified.
    """
    try:
        return addresses.domain_key(text.removesuffix("."))
    except errors.Invalid as error:
        raise errors.Invalid(f"{shown(to)!r} has no valid domain: {error.message}") from error


def _checked_match(match: str) -> str:
    if match == "*":
        return match
    if match.startswith("instance:"):
        if not re.fullmatch(r"instance:[0-9a-f-]{36}", match):
            raise errors.Invalid(f"{match!r} must be 'instance:' followed by the id of an instance")
        return match
    local, at, domain = match.rpartition("@")
    if local == "*" and at:
        return f"*@{_domain(domain, match)}"
    try:
        return addresses.parse(match).key
    except errors.Invalid as error:
        raise errors.Invalid(
            f"{match!r} is not an email address: use support@example.com, *@example.com, instance:ID or *."
        ) from error


def without_secret(route: Route) -> dict[str, Any]:
    """Return the settings of a route as JSON values. The secret is omitted, so the result is safe to show."""
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
