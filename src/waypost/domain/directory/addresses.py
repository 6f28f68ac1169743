"""What an address is, and when two spellings are the same address.

An address is `local@domain`. Both sides compare without case, and domains as IDNA A-labels, so
`Support@Bücher.example` and `support@xn--bcher-kva.example` are one address. The spelling that was given is
kept for display; only `key` is ever compared.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

import idna

from waypost.domain import errors
from waypost.domain.directory import caseless

MAX_LOCAL_OCTETS = 64
"""RFC 5321 section 4.5.3.1.1."""

MAX_DOMAIN_OCTETS = 255
"""RFC 5321 section 4.5.3.1.2."""

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE | re.ASCII)
"""RFC 5321 section 4.1.2 `Domain`, with the label length of RFC 1035."""

_DOT_STRING = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
"""RFC 5321 section 4.1.2 `Dot-string`, for a local part of ASCII only."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address: the spelling as given, and the key by which it is compared."""

    text: str
    key: str

    def __str__(self) -> str:
        return self.text


def parse(text: str) -> Address:
    """Parse `local@domain`, as API callers give it. A quoted local part means what it quotes.

    Raises `errors.Invalid`, naming what is wrong, for anything that no SMTP client could send mail to.
    """
    local, at, domain = text.rpartition("@")
    if not at:
        raise errors.Invalid("an address needs an @ between the local part and the domain")
    if len(local) > 1 and local[0] == local[-1] == '"':
        local = unquote(local)
    if not _is_dot_string(local):
        raise errors.Invalid(
            "the part before the @ must be letters, digits and !#$%&'*+/=?^_`{|}~-, with single dots between"
        )
    return from_parts(local, domain, text=text)


def from_parts(local: str, domain: str, *, text: str) -> Address:
    """Make an address of a local part without quotes and a domain; `text` is the spelling to keep.

    Raises `errors.Invalid` where a part is empty, too long, or no domain name. This is all that SMTP needs:
    a local part that only quoting can express is a valid recipient, just never one of ours.
    """
    if not local or not domain:
        raise errors.Invalid("an address needs something on both sides of the @")
    if len(local.encode()) > MAX_LOCAL_OCTETS:
        raise errors.Invalid(f"the part before the @ is longer than {MAX_LOCAL_OCTETS} octets")
    return Address(text, f"{caseless.fold(local)}@{domain_key(domain)}")


def domain_key(domain: str) -> str:
    """The domain as lower-case A-labels (RFC 5890), by which it is compared. Raises `errors.Invalid`."""
    ascii_domain = domain
    if len(domain) <= MAX_DOMAIN_OCTETS and not domain.isascii():
        try:
            ascii_domain = idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise errors.Invalid(f"the part after the @ is no domain name: {error}") from error
    if len(ascii_domain) > MAX_DOMAIN_OCTETS:
        raise errors.Invalid(f"the part after the @ is longer than {MAX_DOMAIN_OCTETS} octets")
    if not _DOMAIN.fullmatch(ascii_domain):
        raise errors.Invalid("the part after the @ is no domain name: letters, digits and inner hyphens only")
    return ascii_domain.lower()


SUBADDRESS_DELIMITER = "+"
"""The delimiter before the subaddress in a local part (RFC 5233 section 1), in domains that have subaddresses."""


def owner_keys(address: Address, subaddressed: Collection[str]) -> tuple[str, ...]:
    """The keys of the email addresses that may receive mail for an address; the first one that exists receives it.

    `subaddressed` are the domains that have subaddresses, as A-labels. The first key is the address's own. In such a
    domain the second is the one without the subaddress: `support@` for `support+order+7@`, because the first delimiter
    counts.
    """
    if not subaddressed:
        return (address.key,)
    local, _, domain = address.key.rpartition("@")
    base, delimiter, _ = local.partition(SUBADDRESS_DELIMITER)
    if not base or not delimiter or domain not in subaddressed:
        return (address.key,)
    return (address.key, f"{base}@{domain}")


def with_ascii_domain(text: str) -> str:
    """The address with its domain as A-labels (RFC 5891), for where only ASCII may stand.

    An address comes back as it is where that is not enough, because its local part is not ASCII, and where its domain
    has no A-labels.
    """
    local, _, domain = text.rpartition("@")
    if text.isascii() or not local.isascii():
        return text
    try:
        return f"{local}@{domain_key(domain)}"
    except errors.Invalid:
        return text


def unquote(quoted: str) -> str:
    """Remove the quotes and backslashes of an RFC 5321 `Quoted-string`: they are not part of the address."""
    return re.sub(r"\\(.)", r"\1", quoted[1:-1])


def _is_dot_string(local: str) -> bool:
    """Whether a local part needs no quotes. Beyond ASCII (RFC 6531), whatever is visible is allowed."""
    if local.isascii():
        return _DOT_STRING.fullmatch(local) is not None
    ascii_shape = "".join(c if c.isascii() else "x" for c in local)
    return local.isprintable() and _DOT_STRING.fullmatch(ascii_shape) is not None
