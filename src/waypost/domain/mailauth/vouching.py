"""Whether a notice to MAIL FROM reaches the person who sent the message: a proof for a domain is not a proof for an
address.
"""

import re
from itertools import islice

from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mailauth.from_header import Naming
from waypost.domain.mailauth.verdicts import Outcome, Verdicts

FROM_OCTETS = 1_000
"""Octets of a From field. A longer field is not read."""

_FROM = re.compile(rb"(?:\A|\n)from[ \t]*:", re.IGNORECASE)
_LINE_END = re.compile(rb"\r?\n(?![ \t])")
_FOLD = re.compile(r"[\r\n\t ]+")


def vouches_for(verdicts: Verdicts, sender: str, header: bytes) -> bool:
    """Whether a notice to this sender goes to the person who sent the message, and not to somebody whose address was
    misused.

    SPF vouches for it, where the servers of the sender's own domain may send as the client did. So does DKIM, where
    From has exactly the sender's address, and its domain, or one above it, has signed From. DMARC alone vouches for a
    domain, and not for an address: anybody with an account at a provider can use another account's address as MAIL
    FROM.
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
    """The address in From, by its key; empty where there are several From fields or addresses, or another form.

    Only what every reader understands alike counts: one field of ASCII, with one `@`, in which the address stands alone
    or in angle brackets at the end.
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
    """The key by which a domain is compared; a text that is not a domain has a key that no domain has."""
    try:
        return addresses.domain_key(domain.rstrip("."))
    except errors.Invalid:
        return "?"
