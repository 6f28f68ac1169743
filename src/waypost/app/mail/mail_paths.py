"""The paths that mail takes now: from an alias to its primary, and over a route to a destination.

`app.mail.explain` says more about the mail for one address. This module shows the paths of many email addresses at
once.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.directory.email_addresses import EmailAddress
from waypost.domain.directory.instances import Tenant
from waypost.domain.directory.search import Every
from waypost.domain.mail import routes
from waypost.domain.mail.routes import Route

_PAGE = 100
"""The number of email addresses in one query."""

_MOST_WAYS = 5_000
"""The maximum number of ways of deliveries whose volumes are read: those that most deliveries took."""

_DAY = timedelta(hours=23)
"""The age of the first hour whose deliveries are counted. With the current hour, they are 24 hours."""

_INSTANCES = 1_000
"""The maximum number of instances of a region whose email addresses are read."""


class MailPath(Struct, frozen=True):
    """The path of mail for one email address."""

    email_address: EmailAddress
    route: Route
    """The route of the email address itself."""
    region: str = ""
    """The region of its instance; empty if the caller knows it."""
    alias: EmailAddress | None = None
    """The alias whose mail it also gets; None if it is not a primary."""
    primary: EmailAddress | None = None
    """The email address that also gets its mail; None if it is not an alias."""
    primary_route: Route | None = None
    """The route of the primary."""

    @property
    def destination(self) -> str:
        """Where its own copy goes; empty for the inbox."""
        return routes.destination(self.route, self.email_address.address)

    @property
    def last_destination(self) -> str:
        """Where the mail goes in the end: over the route of the primary, if there is one. Empty for the inbox."""
        if self.primary and self.primary_route:
            return routes.destination(self.primary_route, self.primary.address)
        return self.destination


Volumes = Mapping[tuple[str, str, str], int]
"""How many deliveries of the last day took a way: by the email address, the alias that forwarded the mail to it (empty
if it was addressed), and the destination of the route (empty for the inbox).
"""


class AllPaths(Struct, frozen=True):
    """The paths of an account's email addresses."""

    paths: tuple[MailPath, ...]
    is_complete: bool
    """Whether the account has no other email addresses."""
    volumes: Volumes


def of_addresses(tx: ports.ReadTx, deployment: Deployment, email_address_ids: Sequence[str]) -> dict[str, MailPath]:
    """Return the paths of some email addresses by their ids. Ids that do not exist are left out.

    The caller has checked that the ids belong to the account.
    """
    links = tx.links_of(email_address_ids)
    ids = {*email_address_ids, *(end for link in links.values() for end in (link.primary_id, link.alias_id))}
    found = [email_address for one in sorted(ids) if (email_address := tx.email_address_by_id(one))]
    paths = _paths([(each, links.get(each.id)) for each in found], _routes_in_force(tx, deployment))
    return {path.email_address.id: path for path in paths if path.email_address.id in set(email_address_ids)}


def volumes(tx: ports.ReadTx, account: str, *, now: datetime) -> Volumes:
    """Return the volumes of an account's mail. Ways that few deliveries took are left out if there are very many."""
    ways = tx.mail_flows(account, since=now - _DAY, limit=_MOST_WAYS)
    return {(way.address, way.alias, way.destination): way.count for way in ways}


def of_account(tx: ports.ReadTx, deployment: Deployment, account: str, *, limit: int, now: datetime) -> AllPaths:
    """Return the paths of an account's email addresses, in all instances and regions, but of at most `limit`."""
    in_force = _routes_in_force(tx, deployment)
    paths: list[MailPath] = []
    for region in tx.regions_of(account):
        tenant = Tenant(account, region)
        for instance in tx.instances(tenant, after="", limit=_INSTANCES):
            found: list[tuple[EmailAddress, AliasLink | None]] = []
            after: str | None = None
            while len(paths) + len(found) <= limit:
                page = tx.search(tenant, instance.id, Every(()), after=after, limit=_PAGE, count_up_to=1)
                if page is None:
                    break
                found += page.found
                after = page.next_after
                if after is None:
                    break
            paths += _paths(found, in_force, region=region)
    return AllPaths(tuple(paths[:limit]), len(paths) <= limit, volumes(tx, account, now=now))


def _routes_in_force(tx: ports.ReadTx, deployment: Deployment) -> tuple[Route, ...]:
    return deployment.routes_in_force(tx, tx.routes_revision())


def _paths(
    found: Iterable[tuple[EmailAddress, AliasLink | None]], in_force: Sequence[Route], *, region: str = ""
) -> list[MailPath]:
    found = list(found)
    by_id = {email_address.id: email_address for email_address, _ in found}

    def route_of(email_address: EmailAddress) -> Route:
        return routes.find(in_force, email_address.address, email_address.instance_id)

    paths = []
    for email_address, link in found:
        primary = by_id.get(link.primary_id) if link and link.alias_id == email_address.id else None
        alias = by_id.get(link.alias_id) if link and link.primary_id == email_address.id else None
        paths.append(
            MailPath(
                email_address,
                route_of(email_address),
                region=region,
                alias=alias,
                primary=primary,
                primary_route=route_of(primary) if primary else None,
            )
        )
    return paths
