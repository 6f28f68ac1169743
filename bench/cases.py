"""The cases that are measured: a base case, and variations of one condition at a time."""

from dataclasses import dataclass

from peers.peer import INBOX, LMTP, RELAY, Kind

KB, MB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Case:
    """The conditions of a load of mail, and the kinds of servers that are measured in it."""

    id: str
    title: str
    size: int = 4 * KB
    """The size of a message's body, in octets."""
    sessions: int = 20
    kept: bool = True
    """Whether connections are kept. Otherwise each message has a connection of its own."""
    path: str = INBOX
    kinds: frozenset[Kind] = frozenset(Kind)
    most: int = 20_000
    """The maximum number of messages in a run, so that large messages do not fill the disk."""


_SOME = frozenset({Kind.WAYPOST, Kind.KEEPS, Kind.CEILING})

BASE = Case("kept", "4 KB, 20 sessions, connections kept, into two inboxes")

CASES = (
    BASE,
    Case("each", "4 KB, 20 sessions, a connection for each message, into two inboxes", kept=False),
    Case("64k", "64 KB, 20 sessions, connections kept, into two inboxes", size=64 * KB, kinds=_SOME, most=2_000),
    Case("1m", "1 MB, 20 sessions, connections kept, into two inboxes", size=MB, kinds=_SOME, most=80),
    Case("one", "4 KB, 1 session, connection kept, into two inboxes", sessions=1, kinds=_SOME),
    Case("many", "4 KB, 200 sessions, connections kept, into two inboxes", sessions=200, kinds=_SOME),
    Case("relay", "4 KB, 20 sessions, connections kept, both copies relayed with SMTP", path=RELAY),
    Case("lmtp", "4 KB, 20 sessions, connections kept, both copies delivered with LMTP", path=LMTP),
)

QUICK = ("kept", "each")
"""The cases of `--quick`."""


def amount(case: Case, per_second: float, seconds: float) -> int:
    """Return how many messages a server that does `per_second` needs for a run of about this length."""
    return max(2 * case.sessions, min(case.most, round(per_second * seconds)))
