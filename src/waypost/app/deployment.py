"""The values of this deployment that the use cases of mail need: its name, its keys, its routes, and its rules."""

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
    """Values that do not change while the server runs."""

    hostname: str
    loop_key: bytes
    routes: tuple[Route, ...] = ()
    """Of the settings file. They come before those that were added by a command."""
    routes_revision: str = ""
    """A digest of these routes; empty if there are none."""
    policy: Policy = field(default_factory=Policy)
    bounces: Bounces = Bounces.AUTHENTICATED
    bounces_via: Route | None = None
    """The route for notices to senders outside; None: they get none."""
    confirm_outside: bool = False
    """Whether senders outside get notices of success, if they ask for them."""
    delay_warning: timedelta | None = None
    """How long mail may be delayed before its sender gets a notice."""
    srs_domain: str = ""
    """The domain of rewritten senders, where their bounces arrive, as an A-label; empty: no sender is rewritten."""
    srs_key: Callable[[int], bytes] = field(default=_no_key, repr=False)
    """The secret of a period, for rewritten senders."""
    owner: str = ""
    """The account of the server's owner: that of the key in its credentials file, which the first start makes."""
    subaddressed: frozenset[str] = frozenset()
    """Domains, as A-labels, where mail for support+x@ is for support@, if there is no support+x@."""
    own_domains: frozenset[str] = frozenset()
    """Domains whose SPF record names this server, as A-labels: their senders are never rewritten."""

    def srs_key_for(self, email_address_id: str) -> Callable[[int], bytes]:
        """The secrets for the senders of forwarded copies, so that a bounce names exactly one copy."""
        return lambda period: hmac.digest(self.srs_key(period), email_address_id.encode(), "sha256")

    def routes_in_force(self, tx: ports.ReadTx, stored_revision: str) -> tuple[Route, ...]:
        """All routes in this transaction, in their order."""
        return (*self.routes, *tx.stored_routes(stored_revision)) if stored_revision else self.routes

    def revision(self, stored_revision: str) -> str:
        """A digest of all routes; empty if there are none."""
        return "-".join(part for part in (self.routes_revision, stored_revision) if part)
