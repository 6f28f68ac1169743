"""Fair shares of a limited resource: the amount that one network or one DNS domain may hold at the same time.

The size of a share depends on the amount that is free, because no user may hold more than the free amount. So a single
user gets half of the resource, two users get a third each, and some of the resource is always left for another user.
These "dynamic thresholds" need no list of users (Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from waypost.domain.limits import networks

NARROW = 1
"""The multiple of the free amount that one user may hold."""

WIDE = 2
"""The multiple of the free amount that neighbours may hold together.

Neighbours may be one user with several addresses or names.
"""


@dataclass(frozen=True, slots=True)
class Share:
    """A holder of a resource, and the multiple of the free amount (`factor`) that the holder may have."""

    holder: str
    factor: int


def of_address(address: str) -> tuple[Share, ...]:
    """Return the shares against which a client's IP address is counted: the shares of its host and of its network.

    A peer without an IP address, as in a test, has its own share.
    """
    found = networks.of(address)
    own = Share(found.host, NARROW)
    return (own, Share(found.site, WIDE)) if found.site else (own,)


_REVERSE = {"in-addr": 5, "ip6": 14}
"""The number of labels in the reverse-DNS name of a network: an IPv4 /24 under `in-addr.arpa` (RFC 1035 section 3.5),
or an IPv6 /48 under `ip6.arpa` (RFC 3596).
"""


def of_domain(name: str) -> tuple[Share, ...]:
    """Return the shares against which a DNS query is counted: one for the name's last three labels, and one for its
    last two.

    The DNS does not show which labels belong to one owner. Two labels may be the domain of one owner, who can create
    any number of names below the domain, or a suffix that many owners share, such as `co.uk`. A reverse-DNS query is
    counted only against the share of the IP address's network.
    """
    labels = _labels(name)
    if labels[-1] == "arpa" or len(labels) < 3:
        return (Share(owner_of(name), WIDE),)
    return Share(".".join(labels[-3:]), NARROW), Share(".".join(labels[-2:]), WIDE)


def owner_of(name: str) -> str:
    """Return the likely domain of a name's owner: the last two labels, or three labels below a suffix like `co.uk`.

    The result is a guess, so this function must be used only where a wrong guess does little harm. If the last label
    has two letters and the label before it has at most three, the function assumes that many owners share this suffix.
    For the reverse-DNS name of an IP address, the result is the name of the address's network.
    """
    labels = _labels(name)
    if labels[-1] == "arpa":
        return ".".join(labels[-_REVERSE.get(".".join(labels[-2:-1]), 3) :])
    is_suffix = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3:] if is_suffix else labels[-2:])


def _labels(name: str) -> list[str]:
    return name.rstrip(".").lower().split(".")


def allows(shares: Collection[Share], amount: int, *, free: int, held_by: Callable[[str], int]) -> bool:
    """Return whether the amount is free and can be taken without any holder exceeding its share.

    `held_by` returns the amount that a holder already has. A holder that has nothing may take everything that is free.
    """
    return amount <= free and all(held_by(share.holder) + amount <= share.factor * free for share in shares)
