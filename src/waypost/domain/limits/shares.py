"""Fair shares of a limited resource. The users of the resource are networks or DNS domains, and a share is the amount
that one user may hold at any time.

No user may hold more than the amount that is still free, so a share shrinks as the resource fills up. A single user can
therefore hold at most half of the resource, two users can hold at most a third each, and some of the resource is always
left for another user. This method ("dynamic thresholds") needs no list of users (Choudhury and Hahne, IEEE/ACM
Transactions on Networking 6(2), 1998).
"""

from collections.abc import Callable, Collection

from msgspec import Struct

from waypost.domain.limits import networks

NARROW = 1
"""The limit for a single user, as a multiple of the free amount."""

WIDE = 2
"""The common limit for a group of neighbours, as a multiple of the free amount.

Neighbours have a common limit, because they may be a single user with several addresses or names.
"""


class Share(Struct, frozen=True):
    """A holder of a resource, and its limit as a multiple of the free amount (`factor`)."""

    holder: str
    factor: int


def of_address(address: str) -> tuple[Share, ...]:
    """Return the shares that limit the client at this IP address: one for its host, and one for its network.

    A client without an IP address, as in a test, has a single share of its own.
    """
    found = networks.of(address)
    own = Share(found.host, NARROW)
    return (own, Share(found.site, WIDE)) if found.site else (own,)


_REVERSE = {"in-addr": 5, "ip6": 14}
"""The number of labels in the reverse-DNS name of a network: an IPv4 /24 under `in-addr.arpa` (RFC 1035 section 3.5),
or an IPv6 /48 under `ip6.arpa` (RFC 3596).
"""


def of_domain(name: str) -> tuple[Share, ...]:
    """Return the shares that limit a DNS query: one for the name's last three labels, and one for its last two.

    The DNS does not show which part of a name belongs to a single owner. The last two labels may be the domain of one
    owner, who can create any number of names below the domain, or a suffix that many owners share, such as `co.uk`. A
    reverse-DNS query is limited only by the share of the IP address's network.
    """
    labels = _labels(name)
    if labels[-1] == "arpa" or len(labels) < 3:
        return (Share(owner_of(name), WIDE),)
    return Share(".".join(labels[-3:]), NARROW), Share(".".join(labels[-2:]), WIDE)


def owner_of(name: str) -> str:
    """Return the likely domain of a name's owner: the last two labels, or the last three labels if the name ends in a
    suffix such as `co.uk`.

    The result is a guess, so this function must be used only where a wrong guess does little harm. If the last label
    has two letters and the label before it has at most three, the function assumes that these two labels are a suffix
    that many owners share. For the reverse-DNS name of an IP address, the result is the name of the address's network.
    """
    labels = _labels(name)
    if labels[-1] == "arpa":
        return ".".join(labels[-_REVERSE.get(".".join(labels[-2:-1]), 3) :])
    is_suffix = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3:] if is_suffix else labels[-2:])


def _labels(name: str) -> list[str]:
    return name.rstrip(".").lower().split(".")


def allows(shares: Collection[Share], amount: int, *, free: int, held_by: Callable[[str], int]) -> bool:
    """Return whether `amount` is free and every holder would stay within its share after taking it.

    `held_by` returns the amount that a holder already has. A holder that has nothing may take everything that is free.
    """
    return amount <= free and all(held_by(share.holder) + amount <= share.factor * free for share in shares)
