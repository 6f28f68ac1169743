"""Decide whether a notice to the address in MAIL FROM reaches the person who sent the message.

If a check authenticates a domain, it does not necessarily authenticate a particular address in that domain.
"""

import re
from itertools import islice

from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mailauth.from_header import Naming
from waypost.domain.mailauth.verdicts import Outcome, Verdicts

FROM_OCTETS = 1_000
"""From fields of at least this length, in bytes, are not read."""

_FROM = re.compile(rb"(?:\A|\n)from[ \t]*:", re.IGNORECASE)
_LINE_END = re.compile(rb"\r?\n(?![ \t])")
_FOLD = re.compile(r"[\r\n\t ]+")


def vouches_for(verdicts: Verdicts, sender: str, header: bytes) -> bool:
    """Return whether the sender address is authentic, so that a notice to it does not go to the victim of a forgery.

    SPF authenticates the address if it passes for the sender's own domain. DKIM authenticates the address if it is the
    only address in From, and a valid signature is from the address's domain or a parent domain. DMARC alone
    authenticates a domain, but not an address, because a customer of a mail provider can use another customer's address
    in MAIL FROM.
    """
    try:
        claimed = addresses.parse(sender).key
    except errors.Invalid:
        return False
    domain = claimed.rpartition("@")[2]
    spf = verdicts.spf
    if spf.outcome is Outcome.PASS and spf.identity == "mailfrom" and _key(spf.domain) == domain:
        return True
    signers = {_key(dkim.domain) for dkim in verdicts.dkim if dkim.outcome is Outcome.PASS}
    if verdicts.dmarc.naming is not Naming.ONE or not any(f".{domain}".endswith(f".{signer}") for signer in signers):
        return False
    return author_key(header) == claimed


def author_key(header: bytes) -> str:
    """Return the key of the address in From; empty unless every mail reader finds the same single address.

    There must be exactly one From field, which must be ASCII and contain exactly one `@`. The address must be the whole
    value, or be in angle brackets at the end of the value.
    """
    fields = list(islice(_FROM.finditer(header), 2))
    if len(fields) != 1:
        return ""
    octets = _LINE_END.split(header[fields[0].end() : fields[0].end() + FROM_OCTETS], maxsplit=1)[0]
    if len(octets) == FROM_OCTETS or not octets.isascii() or octets.count(b"@") != 1:
        return ""
    phrase, bracket, address = _FOLD.sub(" ", octets.decode()).strip().rpartition("<")
    if bracket:
        if not address.endswith(">") or "<" in phrase:
            return ""
        address = address[:-1]
    try:
        return addresses.parse(address).key
    except errors.Invalid:
        return ""


def _key(domain: str) -> str:
    """Return the key by which domains are compared. Text that is not a domain gets a key that no domain has."""
    try:
        return addresses.domain_key(domain.rstrip("."))
    except errors.Invalid:
        return "?"
