"""The table of the broken builds: each patch, and the faults that must find it."""

from dataclasses import dataclass
from pathlib import Path

PATCHES = Path(__file__).parent / "patches"


@dataclass(frozen=True)
class Broken:
    """A broken build: a patch, and what it breaks. One of at most `runs` faults of this kind must find it."""

    patch: str
    what: str
    kind: str
    runs: int
    store: str = "sqlite"
    workers: int = 1

    @property
    def path(self):
        return PATCHES / f"{self.patch}.patch"


SLOW_PEER = "peer slower than the lease"
AFTER_COMMIT = "kill after commit before reply"
SYNC_FAILS = "fsync of a Maildir fails, and power cut"
LOG_SYNC_FAILS = "fsync of the log fails, kill, and power cut"
HISTORIES = "concurrent calls to two servers"

BUILDS = [
    Broken("reply-before-commit", "The client gets the reply before the COMMIT", "kill before commit", 20),
    Broken("synchronous-normal", "SQLite does not sync its log at each COMMIT", "power cut", 5),
    Broken("body-after-commit", "The bytes of a message are written after its COMMIT", AFTER_COMMIT, 10),
    Broken("claim-without-fence", "A worker claims what another worker attempts", SLOW_PEER, 5, workers=2),
    Broken("no-for-update", "Associations do not lock their email addresses", HISTORIES, 20, "postgresql"),
    Broken("lease-never-renewed", "A worker does not renew its leases", SLOW_PEER, 5, workers=2),
    Broken("enospc-swallowed", "A failed write to a Maildir is ignored", "write to a Maildir fails", 20),
    Broken("fsync-error-ignored", "A failed fsync of a Maildir is ignored", SYNC_FAILS, 40),
    Broken("duplicate-key-ignored", "An email address that exists is reported as created", HISTORIES, 20, "postgresql"),
    Broken(
        "group-told-success",
        "A group whose COMMIT failed is reported as stored",
        "connection cut before COMMIT",
        10,
        "postgresql",
    ),
    Broken("plans-forgotten", "Planned deliveries are not stored after a start", AFTER_COMMIT, 40),
    Broken("token-not-remembered", "A client token is not stored with its call", AFTER_COMMIT, 80),
    Broken("log-damage-hidden", "A log with damage is read up to the damage", "files damaged at rest", 20),
    Broken("log-not-written-again", "The log of a killed process is not synced at the start", LOG_SYNC_FAILS, 20),
    Broken("refused-commit-left", "A refused transaction stays in the log", LOG_SYNC_FAILS, 10),
    Broken("second-piece-unchecked", "Only the first piece of a message has a checksum", "kill the server", 3),
    Broken("whole-pages-cut", "Messages that fill pages lose their last byte", "kill the server", 3),
    Broken("maildir-name-not-synced", "The name of a file in a Maildir is not synced", "power cut", 10),
    Broken(
        "stored-again-with-another-id",
        "A message whose COMMIT fails is stored again at once",
        "connection cut after COMMIT",
        10,
        "postgresql",
    ),
]
