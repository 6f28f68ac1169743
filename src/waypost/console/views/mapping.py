"""The map: all paths of mail of an account as one picture, with a table of the same paths."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from urllib.parse import urlencode

from markupsafe import Markup
from msgspec.structs import replace
from starlette.responses import Response

from waypost.app.mail import mail_paths
from waypost.app.mail.mail_paths import MailPath, Volumes
from waypost.console import map_drawing
from waypost.console.map_drawing import Chain
from waypost.console.parts import PREFIX
from waypost.console.views.places import INBOX, Place
from waypost.console.visits import Visit
from waypost.domain.directory.addresses import Address
from waypost.domain.mail import routes
from waypost.domain.mail.routes import Route

MOST_ADDRESSES = 2_000
"""The maximum number of email addresses on a map."""

OF_DOMAIN = 25
"""The number of email addresses on a page of the map of one domain, which has no groups. With more, the connectors
would be too long to follow, and the HTML larger than 40 KB."""

MOST_ROWS = 60
"""The maximum number of rows of the table. If the map is grouped, the table has a row for each path between groups."""

NO_ROUTE = "no route"
"""The label of the column of routes for mail that no route matches."""


OWN_COPY = " (own copy)"
"""The end of the label of an alias in the column of primaries, if its own copy takes another route than its primary's
mail. Without this node, the connector from the alias to the route would cross the nodes of primaries.
"""


async def show(visit: Visit) -> Response:
    """Show the map. The parameter `find` highlights paths; `domain` shows only the paths of one domain, of which `from`
    is the number of the first.
    """
    use_case = partial(
        mail_paths.of_account,
        deployment=visit.parts.deployment,
        account=visit.account,
        limit=MOST_ADDRESSES,
        now=visit.parts.mail_clock(),
    )
    known = await visit.long_read(use_case, what="the map")
    domain = visit.query.get("domain", "").lower()
    find = visit.query.get("find", "").strip()
    paths = _of_domain(known.paths, domain, find, known.volumes) if domain else list(known.paths)
    total, first = len(paths), _first(visit.query) if domain else 0
    paths = paths[first : first + OF_DOMAIN] if domain else paths
    chains = [chain for path in paths for chain in _chains(path, known.volumes)]
    is_found = map_drawing.found(chains, find)
    is_grouped = not domain and map_drawing.count_nodes(chains) > map_drawing.MOST_NODES
    drawn = map_drawing.grouped(chains) if is_grouped else chains
    links = _domain_links(drawn) if is_grouped else _address_links(paths)
    svg = map_drawing.drawing(
        drawn,
        links=links,
        is_found=is_found,
        description=f"Map of the paths of mail for {len(paths)} email addresses. The table below has the same paths.",
    )
    rows = _rows([chain for chain, yes in zip(chains, is_found, strict=True) if yes] if find else drawn)
    return visit.page(
        "map.html",
        svg=Markup(svg),  # noqa: S704 - map_drawing escapes all texts
        rows=rows[:MOST_ROWS],
        has_volumes=bool(known.volumes),
        more_rows=max(0, len(rows) - MOST_ROWS),
        addresses=total,
        first=first,
        shown=len(paths),
        page=OF_DOMAIN,
        is_complete=known.is_complete,
        is_grouped=is_grouped,
        find=find,
        found=sum(is_found),
        domain=domain,
        urls=_address_links(paths) if find else links,
    )


def _of_domain(paths: Iterable[MailPath], domain: str, find: str, volumes: Volumes) -> list[MailPath]:
    """Return the paths of a domain in which a text is found, or all if the text is empty: first those with a link."""
    wanted = [
        path
        for path in paths
        if domain in _domains(path) and (not find or any(map_drawing.found(_chains(path, volumes), find)))
    ]
    return sorted(wanted, key=lambda path: (not (path.alias or path.primary), path.email_address.address.text))


def _first(query: Mapping[str, str]) -> int:
    given = query.get("from", "")
    return int(given) if re.fullmatch("[0-9]{1,6}", given, re.ASCII) else 0


def _chains(path: MailPath, volumes: Volumes) -> list[Chain]:
    """Return the chains of an email address. The own copy of an alias has chains if it takes another route."""
    own, primary = path.email_address, path.primary
    if primary is None or path.primary_route is None:
        return _over(path.route, own.address, alias="", label=own.address.text, volumes=volumes)
    alias = own.address.text
    chains = _over(path.primary_route, primary.address, alias=alias, label=primary.address.text, volumes=volumes)
    if path.route != path.primary_route:
        chains += [
            replace(chain, alias=alias)
            for chain in _over(path.route, own.address, alias="", label=f"{alias}{OWN_COPY}", volumes=volumes)
        ]
    return chains


def _over(route: Route, address: Address, *, alias: str, label: str, volumes: Volumes) -> list[Chain]:
    """Return the chains of mail for an address over a route, with `label` as its label. The inbox is a second
    destination if it keeps a copy.
    """
    destination = routes.destination(route, address)
    volume = volumes.get((address.text, alias, destination), 0)
    destinations = [routes.shown(destination) or INBOX]
    if route.keep and not route.is_inbox:
        destinations.append(INBOX)
    name = NO_ROUTE if route == routes.INBOX_ROUTE else route.match
    return [Chain(alias, label, name, one, volume) for one in destinations]


def _rows(chains: Sequence[Chain]) -> list[tuple[Chain, int]]:
    """Return the rows of the table: each different path with the sum of its volumes, and the number of its chains."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    volumes: Counter[tuple[str, str, str, str]] = Counter()
    for chain in chains:
        counts[chain.labels] += 1
        volumes[chain.labels] += chain.volume
    return [(Chain(*labels, volume=volumes[labels]), count) for labels, count in counts.items()]


def _domains(path: MailPath) -> set[str]:
    ends = (path.email_address, path.primary, path.alias)
    return {one.address.text.rpartition("@")[2].lower() for one in ends if one}


def _address_links(paths: list[MailPath]) -> dict[str, str]:
    links = {}
    for path in paths:
        url = Place(path.region, path.email_address.instance_id).url(path.email_address.id)
        links[path.email_address.address.text] = links[f"{path.email_address.address}{OWN_COPY}"] = url
    return links


def _domain_links(chains: list[Chain]) -> dict[str, str]:
    """Return the URLs of the groups of email addresses: the map of their domain."""
    labels = {label for chain in chains for label in (chain.alias, chain.primary) if label.startswith("@")}
    return {label: f"{PREFIX}/map?{urlencode({'domain': label[1:].partition(' ')[0]})}" for label in labels}
