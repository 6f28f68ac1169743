"""What the clients, the peers and the faults of one run observed. The model judges it (`model.py`)."""

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from tests.linearizability.checker import Operation

ALWAYS = float("inf")


def token(raw):
    """Return the subject of a message that a client sent, which names the message."""
    return raw.partition(b"\r\n")[0].removeprefix(b"Subject: ").decode(errors="replace")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A message as its client saw it: when it was sent, and the reply."""

    client: str
    server: str
    """The server that got it: a process, so that a restarted server is another one."""
    sender: str
    recipients: tuple[str, ...]
    """The addresses, each once."""
    raw: bytes
    began: float
    ended: float = ALWAYS
    outcome: Literal["accepted", "refused", "unknown"] = "unknown"
    message_id: str = ""
    """The id in the reply; empty if it was not accepted, or if the client does not know it."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A copy that a peer has accepted."""

    delivery_id: str
    server: str
    octets: bytes
    began: float
    """The time at which the attempt began."""
    at: float
    """The time at which the peer accepted the copy."""
    is_reply_lost: bool = False


@dataclass(frozen=True, kw_only=True)
class Excuse:
    """A documented reason for which a peer may get a copy twice (docs/durability.md)."""

    kind: Literal["killed", "stopped", "clocks", "store"]
    server: str
    """The process that is concerned; empty for all."""
    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class Replay:
    """An operator's call that forwards an alias's mail again (a replay)."""

    about: str
    """The address of the alias."""
    began: float
    ended: float


@dataclass
class History:
    """The history of one run."""

    calls: list[Operation] = field(default_factory=list)
    """The calls about email addresses. Those that exist from the beginning are not created by a call."""
    ids: dict[str, str] = field(default_factory=dict)
    """The address of each email address id that a call or the setup named."""
    sent: list[Sent] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    excuses: list[Excuse] = field(default_factory=list)
    replays: list[Replay] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)
    """Internal errors that a server reported, other than those of its store."""

    def __post_init__(self):
        self._digest = hashlib.sha256()

    def note(self, *words):
        """Add something that happened to the digest."""
        self._digest.update(repr(words).encode())

    @property
    def digest(self):
        """The digest of everything that happened, in its order."""
        return self._digest.hexdigest()
