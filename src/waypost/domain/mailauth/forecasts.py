"""Forecast whether the sender of forwarded mail is rewritten, and the results of the receiver's SPF, DKIM and DMARC
checks.

This module does not query the DNS. If a result depends on a domain's DNS records, the forecast says so.
"""

import re
from collections.abc import Collection
from enum import StrEnum

from msgspec import Struct

from waypost.domain.mail.delivery import Protocol
from waypost.domain.mail.messages import end_of_header
from waypost.domain.mail.routes import Route
from waypost.domain.mailauth import from_header
from waypost.domain.mailauth.from_header import Naming

MOST_SIGNATURES = 20
"""The maximum number of DKIM signatures to read from a message."""

_FIELD_OCTETS = 4_000
"""The maximum number of bytes to examine in one field."""

_FIELD = re.compile(rb"\r\n(from|dkim-signature)[ \t]*:", re.IGNORECASE)
_VALUE_END = re.compile(rb"\r\n(?![ \t])")
_SIGNING_DOMAIN = re.compile(r"(?:\A|;)d=([^;]+)", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


class Expected(StrEnum):
    """The expected result of a check."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    NONE = "none"
    """The message lacks the data that the check needs, such as a signature."""
    UNKNOWN = "unknown"


class Expectation(Struct, frozen=True):
    """The expected result of a check, and the reason."""

    outcome: Expected
    because: str


class Forecast(Struct, frozen=True):
    """The expected results of a receiver's checks of a forwarded message."""

    spf: Expectation
    dkim: Expectation
    dmarc: Expectation


class Author(Struct, frozen=True):
    """The author's domains and the DKIM signatures in a message's header."""

    domains: tuple[str, ...]
    """The domains of the addresses in From, as A-labels. A well-formed message has exactly one domain in From."""
    signatures: tuple[str, ...]
    """The `d=` value of each DKIM signature."""
    is_clear: bool = True
    """Whether there is exactly one From field, in which every mail reader finds the same single domain."""


class Rewriting(Struct, frozen=True):
    """Whether the server rewrites the sender, and the reason."""

    domain: str
    """The domain of the rewritten sender; empty if the sender is not rewritten."""
    because: str


def read_author(header: bytes) -> Author:
    """Read the author's domains and the DKIM signatures from a message's header.

    The function accepts arbitrary bytes, and never raises an exception.
    """
    authors: list[str] = []
    signatures: list[str] = []
    lines = b"\r\n" + header[: end_of_header(header)]
    for field in _FIELD.finditer(lines):
        octets = _VALUE_END.split(lines[field.end() : field.end() + _FIELD_OCTETS], maxsplit=1)[0]
        value = octets.decode("utf-8", "replace")
        if field[1].lower() == b"from":
            authors.append(value)
        elif len(signatures) < MOST_SIGNATURES and (found := _SIGNING_DOMAIN.search(_SPACE.sub("", value))):
            signatures.append(found[1].rstrip(".").lower())
    named = from_header.read(authors)
    return Author(named.domains, tuple(signatures), is_clear=named.naming is Naming.ONE)


def rewriting(sender: str | None, route: Route, *, srs_domain: str, own_domains: Collection[str]) -> Rewriting:
    """Return whether the server rewrites a sender (SRS) when it sends mail over a route, and the reason.

    The server rewrites the senders of mail that leaves this server's domains. If `sender` is None, the sender is
    unknown and is treated like a sender outside the deployment.
    """
    if sender == "":
        return Rewriting("", "the null sender is never rewritten")
    if route.target.protocol is not Protocol.SMTP:
        return Rewriting("", "the route does not lead to another mail server, so no receiver checks SPF")
    if not srs_domain:
        return Rewriting("", "no srs_domain is set")
    if not route.rewrite_sender:
        return Rewriting("", "the route has rewrite_sender = false")
    domain = _domain(sender)
    if domain in own_domains:
        return Rewriting("", f"{domain} is one of own_domains")
    return Rewriting(srs_domain, f"the SPF record of {domain or 'the sender domain'} lists the servers that may send")


def forecast(
    sender: str | None,
    author: Author | None,
    rewritten: Rewriting,
    *,
    own_domains: Collection[str],
    hostname: str,
) -> Forecast:
    """Forecast the results of the next server's checks. `sender` and `author` are None if they are unknown."""
    spf, checked = _spf(sender, rewritten, own_domains, hostname)
    if author is None:
        unknown = Expectation(Expected.UNKNOWN, "it depends on the message")
        return Forecast(spf, unknown, unknown)
    return Forecast(spf, _dkim(author), _dmarc(author, spf, checked))


def _spf(
    sender: str | None, rewritten: Rewriting, own_domains: Collection[str], hostname: str
) -> tuple[Expectation, str | None]:
    """Return the expected SPF result and the domain that SPF checks. The domain is None if it is unknown."""
    if sender is None:
        return Expectation(Expected.UNKNOWN, "it depends on the sender"), None
    if not sender:
        because = f"for the null sender, the SPF record of {hostname} decides"
        return Expectation(Expected.UNKNOWN, because), hostname.lower()
    if rewritten.domain:
        because = f"the sender is now in {rewritten.domain}, whose SPF record must list this server"
        return Expectation(Expected.PASS, because), rewritten.domain
    domain = _domain(sender)
    if domain in own_domains:
        because = f"{domain} is one of own_domains, so its SPF record must list this server"
        return Expectation(Expected.PASS, because), domain
    because = f"the sender stays in {domain}, whose SPF record is unlikely to list this server"
    return Expectation(Expected.FAIL, because), domain


def _dkim(author: Author) -> Expectation:
    if not author.signatures:
        return Expectation(Expected.NONE, "the message has no signature")
    signed = ", ".join(dict.fromkeys(author.signatures))
    because = f"the message is sent unchanged, so a valid signature from {signed} stays valid"
    return Expectation(Expected.PASS, because)


def _dmarc(author: Author, spf: Expectation, checked: str | None) -> Expectation:
    """Forecast DMARC (RFC 9989): whether a passing SPF or DKIM result is aligned with the domain in From."""
    if len(author.domains) != 1 or not author.is_clear:
        found = "several domains" if author.domains else "no domain"
        because = f"From names {found}, for which DMARC defines no result; many receivers refuse such mail"
        return Expectation(Expected.UNKNOWN, because)
    (domain,) = author.domains
    if domain in author.signatures:
        return Expectation(Expected.PASS, f"if the signature is valid, because it is from {domain}, the domain in From")
    if spf.outcome is Expected.PASS and checked == domain:
        return Expectation(Expected.PASS, f"SPF passes for {domain}, the domain in From")
    if checked is None:
        return Expectation(Expected.UNKNOWN, f"no signature is from {domain}, the domain in From, so it depends on SPF")
    passing = [*author.signatures, *([] if spf.outcome is Expected.FAIL else [checked])]
    doubtful = [one for one in passing if _may_be_one_organisation(one, domain)]
    if doubtful:
        because = f"it depends on whether {doubtful[0]} is aligned with {domain}, the domain in From"
        return Expectation(Expected.UNKNOWN, because)
    because = f"neither SPF nor a signature is aligned with {domain}, the domain in From, so its DMARC policy applies"
    return Expectation(Expected.FAIL, because)


def _may_be_one_organisation(one: str, other: str) -> bool:
    """Return whether two domains may belong to one organization, judging by their names (RFC 9989 section 4.10.2)."""
    return one.split(".")[-2:] == other.split(".")[-2:]


def _domain(sender: str | None) -> str:
    return (sender or "").rpartition("@")[2].lower()
