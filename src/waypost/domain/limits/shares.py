"""Fair shares of a bounded resource: how much of it one network, or one DNS domain, may hold at once.

A share depends on how much is free: nobody may hold more than that. So one user alone gets half of the resource, two
get a third each, and however many there are, something is left for the next one. These "dynamic thresholds" need no
list of users (Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from waypost.domain.limits import networks

NARROW = 1
"""One user may hold this many times what is free."""

WIDE = 2
"""Neighbours together may hold this many times what is free; they may be one user with several addresses or names."""


@dataclass(frozen=True, slots=True)
class Share:
    """A holder that use is counted for, and how many times the free amount it may hold."""

    holder: str
    factor: int


def of_address(address: str) -> tuple[Share, ...]:
    """The shares that a client's IP address counts for: that of the address and that of its network.

    A peer without an IP address, as in a test, has a share of its own.
    """
    found = networks.of(address)
    own = Share(found.host, NARROW)
    return (own, Share(found.site, WIDE)) if found.site else (own,)


_REVERSE = {"in-addr": 5, "ip6": 14}
"""How many labels of a name in `arpa` stand for a network: a /24 (RFC 1035 section 3.5), a /48 (RFC 3596)."""


def of_domain(name: str) -> tuple[Share, ...]:
    """The shares that a question about a DNS name counts for: by its last three labels, and by its last two.

    Which labels one owner has is not in the DNS. Two labels may be one owner's domain, below which there are as many
    names as the owner likes, or a suffix of many owners, such as `co.uk`. The name of an IP address counts for its
    network.
    """
    labels = _labels(name)
    if labels[-1] == "arpa" or len(labels) < 3:
        return (Share(owner_of(name), WIDE),)
    return Share(".".join(labels[-3:]), NARROW), Share(".".join(labels[-2:]), WIDE)


def owner_of(name: str) -> str:
    """The domain that most likely has one owner: the last two labels of a name, or three below suffixes like `co.uk`.

    This is a guess, for uses where a wrong guess does little harm: where the last label has two letters, a label of
    three letters or fewer before it is taken for a suffix of many owners. Of the name of an IP address, it is the
    network.
    """
    labels = _labels(name)
    if labels[-1] == "arpa":
        return ".".join(labels[-_REVERSE.get(".".join(labels[-2:-1]), 3) :])
    is_suffix = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3:] if is_suffix else labels[-2:])


def _labels(name: str) -> list[str]:
    return name.rstrip(".").lower().split(".")


def allows(shares: Collection[Share], amount: int, *, free: int, held_by: Callable[[str], int]) -> bool:
    """Whether this much more may be held: it is free, and no holder would then have more than its share.

    `held_by` says how much a holder has by now. A holder that has nothing may have all that is free.
    """
    return amount <= free and all(held_by(share.holder) + amount <= share.factor * free for share in shares)
