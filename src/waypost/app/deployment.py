"""What the use cases of mail must know of this deployment: its name, its keys, its routes, and its rules."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from waypost.app import ports
from waypost.domain.dsn.notices import Bounces
from waypost.domain.mail.delivery import Policy
from waypost.domain.mail.routes import Route


def _no_key(_: int) -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is set, and does not change while the server runs."""

    hostname: str
    loop_key: bytes
    routes: tuple[Route, ...] = ()
    """Of the settings file. They come before those that were set by command."""
    routes_revision: str = ""
    """A short name of these; empty if there are none."""
    policy: Policy = field(default_factory=Policy)
    bounces: Bounces = Bounces.AUTHENTICATED
    bounces_via: Route | None = None
    """How notices go to senders that are not ours; None: they are not told."""
    confirm_outside: bool = False
    """Whether senders without an email address here are told that their mail has arrived, if they ask for it."""
    delay_warning: timedelta | None = None
    """After how long a sender is told that mail is late."""
    srs_domain: str = ""
    """Where bounces for rewritten senders come back to us, as an A-label; empty: no sender is rewritten."""
    srs_key: Callable[[int], bytes] = field(default=_no_key, repr=False)
    """The secret of a period, for rewritten senders."""
    owner: str = ""
    """The account of the server's owner: that of the key in its credentials file, which the first start makes."""
    subaddressed: frozenset[str] = frozenset()
    """Domains, as A-labels, where mail for support+x@ is for support@, if there is no support+x@."""
    own_domains: frozenset[str] = frozenset()
    """Domains that say by SPF that we may send for them, as A-labels: their senders are never rewritten."""

    def srs_key_for(self, email_address_id: str) -> Callable[[int], bytes]:
        """The secrets for mail that was sent on for an email address: a bounce is about its copy, and no other."""
        return lambda period: hmac.digest(self.srs_key(period), email_address_id.encode(), "sha256")

    def routes_in_force(self, tx: ports.ReadTx, stored_revision: str) -> tuple[Route, ...]:
        """All routes that hold in this transaction, in their order."""
        return (*self.routes, *tx.stored_routes(stored_revision)) if stored_revision else self.routes

    def revision(self, stored_revision: str) -> str:
        """A short name of all the routes that hold; empty if there are none."""
        return "-".join(part for part in (self.routes_revision, stored_revision) if part)
