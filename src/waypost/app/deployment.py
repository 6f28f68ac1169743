"""The properties of the deployment that the mail use cases need: host name, keys, routes, and policies."""

import hmac
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, field

from waypost.app import ports
from waypost.domain import representation
from waypost.domain.dsn.notices import Bounces
from waypost.domain.mail.delivery import Policy
from waypost.domain.mail.routes import Route
from waypost.domain.mailauth import srs
from waypost.domain.mailauth.mail_secrets import Generation


def _of_address(srs_key: Callable[[int], bytes], email_address_id: str) -> Callable[[int], bytes]:
    return lambda period: hmac.digest(srs_key(period), email_address_id.encode(), "sha256")


def _no_key(_: int) -> bytes:
    return b""


class Deployment(Struct, eq=False):
    """The properties of the deployment. They change only when the operator reloads the settings (`become`)."""

    hostname: str
    loop_key: bytes
    routes: tuple[Route, ...] = ()
    """The routes from the settings file. Routes from the settings file take precedence over routes that were added with
    commands.
    """
    routes_revision: str = ""
    """A digest of the routes from the settings file; empty if the file has no routes."""
    policy: Policy = field(default_factory=Policy)
    bounces: Bounces = Bounces.AUTHENTICATED
    bounces_via: Route | None = None
    """The route for notices to outside senders; None if outside senders get no notices."""
    confirm_outside: bool = False
    """Whether outside senders get the success notices that they request."""
    delay_warning: timedelta | None = None
    """How long mail may be delayed before its sender gets a notice; None if senders get no delay notices."""
    srs_domain: str = ""
    """The domain of rewritten senders, as A-labels; bounces of mail with a rewritten sender go to this domain. An empty
    string means that no sender is rewritten.
    """
    srs_key: Callable[[int], bytes] = _no_key
    """A function that returns the secret with which the server signs rewritten senders in a given period."""
    other_secrets: tuple[Generation, ...] = ()
    """Secrets with which this server does not sign, but whose rewritten senders and loop tokens it accepts: during and
    after their rotation, those before and those to come.
    """
    owner: str = ""
    """The account of the server's owner. The access key in the credentials file, which the server creates when it first
    starts, belongs to the owner's account.
    """
    subaddressed: frozenset[str] = frozenset()
    """Domains, as A-labels, in which subaddresses are enabled: mail for support+x@ goes to support@, unless the email
    address support+x@ exists.
    """
    own_domains: frozenset[str] = frozenset()
    """Domains, as A-labels, whose SPF record lists this server. If the SPF record of a sender's domain lists this
    server, the sender is never rewritten.
    """

    def __repr__(self) -> str:
        """Return the fields without the secrets."""
        return representation.without(self, "loop_key")

    def become(self, other: "Deployment") -> None:
        """Take the properties of another deployment. All parts of the server then use them, because they share this
        object.

        A transaction that is running on another thread may use the old and the new routes in turn. Each delivery still
        has one destination, and the queue moves deliveries whose routes have changed.
        """
        for name in self.__struct_fields__:
            setattr(self, name, getattr(other, name))

    @property
    def loop_keys(self) -> Sequence[bytes]:
        """The keys of all loop tokens that this server recognises. It signs with the first."""
        return [self.loop_key, *(one.loop_key for one in self.other_secrets)]

    def find_signer(self, local_part: str, email_address_ids: Sequence[str], *, now: datetime) -> str | None:
        """Return the id of the email address for which a rewritten sender was signed; None if it is none of these, or
        if the rewritten sender has expired. `local_part` is its local part.
        """
        sources = [self.srs_key, *(one.srs_key for one in self.other_secrets)]
        keys = [_of_address(source, each) for each in email_address_ids for source in sources]
        place = srs.find_signer(local_part, keys, now=now)
        return None if place is None else email_address_ids[place // len(sources)]

    def srs_key_for(self, email_address_id: str) -> Callable[[int], bytes]:
        """Return a function that derives one email address's secret for a given period. Because each email address has
        its own secret, a bounce identifies exactly one forwarded copy.
        """
        return _of_address(self.srs_key, email_address_id)

    def routes_in_force(self, tx: ports.ReadTx, stored_revision: str) -> tuple[Route, ...]:
        """Return all routes that are in effect in this transaction, in order of precedence."""
        return (*self.routes, *tx.stored_routes(stored_revision)) if stored_revision else self.routes

    def revision(self, stored_revision: str) -> str:
        """Return a digest of all routes; empty if there are no routes."""
        return "-".join(part for part in (self.routes_revision, stored_revision) if part)
