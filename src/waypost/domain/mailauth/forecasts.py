"""Forecasts how a receiver will judge mail that is sent on: whether its sender is rewritten, and what SPF, DKIM and
DMARC will say.

Nothing here asks the DNS. Where a result depends on what a domain has published, the forecast says so.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from waypost.domain.mail.delivery import Protocol
from waypost.domain.mail.messages import end_of_header
from waypost.domain.mail.routes import Route
from waypost.domain.mailauth import from_header
from waypost.domain.mailauth.from_header import Naming

MOST_SIGNATURES = 20
"""DKIM signatures that are looked at."""

_FIELD_OCTETS = 4_000
"""Octets of one field that are looked at."""

_FIELD = re.compile(rb"\r\n(from|dkim-signature)[ \t]*:", re.IGNORECASE)
_VALUE_END = re.compile(rb"\r\n(?![ \t])")
_SIGNING_DOMAIN = re.compile(r"(?:\A|;)d=([^;]+)", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


class Expected(StrEnum):
    """The result that a check will have."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NONE = "none"
    """There is nothing to check."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Expectation:
    """The result that a check will have, and the reason."""

    outcome: Expected
    because: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """The results that a receiver will find for a message that is sent on."""

    spf: Expectation
    dkim: Expectation
    dmarc: Expectation


@dataclass(frozen=True, slots=True)
class Author:
    """The author and the signatures of a message, as its header states them."""

    domains: tuple[str, ...]
    """Domains of the addresses in From, as A-labels; there should be one."""
    signatures: tuple[str, ...]
    """The `d=` of each DKIM signature."""
    is_clear: bool = True
    """Whether one From field names one domain, however it is read."""


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Whether the sender is rewritten, and the reason."""

    domain: str
    """The rewritten sender; empty if it stays as it is."""
    because: str


def read_author(header: bytes) -> Author:
    """Read the author and the signatures of a message. Never fails: a header may be any bytes."""
    said: list[str] = []
    signatures: list[str] = []
    lines = b"\r\n" + header[: end_of_header(header)]
    for field in _FIELD.finditer(lines):
        octets = _VALUE_END.split(lines[field.end() : field.end() + _FIELD_OCTETS], maxsplit=1)[0]
        value = octets.decode("utf-8", "replace")
        if field[1].lower() == b"from":
            said.append(value)
        elif len(signatures) < MOST_SIGNATURES and (found := _SIGNING_DOMAIN.search(_SPACE.sub("", value))):
            signatures.append(found[1].rstrip(".").lower())
    named = from_header.read(said)
    return Author(named.domains, tuple(signatures), is_clear=named.naming is Naming.ONE)


def rewriting(sender: str | None, route: Route, *, srs_domain: str, own_domains: Collection[str]) -> Rewriting:
    """Whether a sender is rewritten (SRS) on a route, which is done where mail leaves this server's domains.

    None stands for an unknown sender, who is nearly always outside.
    """
    if sender == "":
        return Rewriting("", "the null sender is never rewritten")
    if route.target.protocol is not Protocol.SMTP:
        return Rewriting("", "the route does not lead to another mail server, so nobody asks who may send")
    if not srs_domain:
        return Rewriting("", "no srs_domain is set")
    if not route.rewrite_sender:
        return Rewriting("", "the route has rewrite_sender = false")
    domain = _domain(sender)
    if domain in own_domains:
        return Rewriting("", f"{domain} is one of own_domains")
    return Rewriting(srs_domain, f"{domain or 'the domain of the sender'} says by SPF who may send for it")


def forecast(
    sender: str | None,
    author: Author | None,
    rewritten: Rewriting,
    *,
    own_domains: Collection[str],
    hostname: str,
) -> Forecast:
    """What the next server will find out. None stands for an unknown sender or message."""
    spf, checked = _spf(sender, rewritten, own_domains, hostname)
    if author is None:
        unknown = Expectation(Expected.UNKNOWN, "it depends on the message")
        return Forecast(spf, unknown, unknown)
    return Forecast(spf, _dkim(author), _dmarc(author, spf, checked))


def _spf(
    sender: str | None, rewritten: Rewriting, own_domains: Collection[str], hostname: str
) -> tuple[Expectation, str | None]:
    """What SPF comes to, and for which domain; None if that is not known."""
    if sender is None:
        return Expectation(Expected.UNKNOWN, "it depends on the sender"), None
    if not sender:
        because = f"for the null sender {hostname} is asked, whether its SPF record has this server"
        return Expectation(Expected.UNKNOWN, because), hostname.lower()
    if rewritten.domain:
        because = f"the sender is in {rewritten.domain} now, whose SPF record must have this server"
        return Expectation(Expected.PASS, because), rewritten.domain
    domain = _domain(sender)
    if domain in own_domains:
        return Expectation(Expected.PASS, f"{domain} is one of own_domains, so its SPF record has this server"), domain
    return Expectation(Expected.FAIL, f"the sender stays in {domain}, whose SPF record hardly has this server"), domain


def _dkim(author: Author) -> Expectation:
    if not author.signatures:
        return Expectation(Expected.NONE, "the message has no signature")
    signed = ", ".join(dict.fromkeys(author.signatures))
    because = (
        f"as it was: what {signed} has signed is sent octet for octet, so if the signature is good now, it stays so"
    )
    return Expectation(Expected.PASS, because)


def _dmarc(author: Author, spf: Expectation, checked: str | None) -> Expectation:
    """DMARC (RFC 9989): whether a passing SPF or DKIM result is aligned with the domain in From."""
    if len(author.domains) != 1 or not author.is_clear:
        found = "several domains" if author.domains else "no domain"
        return Expectation(Expected.UNKNOWN, f"From names {found}, of which DMARC says nothing; many refuse such mail")
    (domain,) = author.domains
    if domain in author.signatures:
        return Expectation(Expected.PASS, f"if the signature is good, for it is of {domain}, the domain in From")
    if spf.outcome is Expected.PASS and checked == domain:
        return Expectation(Expected.PASS, f"SPF passes for {domain}, the domain in From")
    if checked is None:
        return Expectation(Expected.UNKNOWN, f"no signature is of {domain}, the domain in From, so it depends on SPF")
    passing = [*author.signatures, *([] if spf.outcome is Expected.FAIL else [checked])]
    doubtful = [one for one in passing if _may_be_one_organisation(one, domain)]
    if doubtful:
        because = f"it depends on whether {doubtful[0]} may speak for {domain}, the domain in From"
        return Expectation(Expected.UNKNOWN, because)
    because = f"neither SPF nor a signature speaks for {domain}, the domain in From; what happens then is its policy"
    return Expectation(Expected.FAIL, because)


def _may_be_one_organisation(one: str, other: str) -> bool:
    """Whether two domains may have one owner (RFC 9989 section 4.10.2), as far as their names can tell."""
    return one.split(".")[-2:] == other.split(".")[-2:]


def _domain(sender: str | None) -> str:
    return (sender or "").rpartition("@")[2].lower()
