"""The page on which a person chooses the other email address of an alias link."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from starlette.responses import Response

from waypost.app import ports
from waypost.console.views.places import Place
from waypost.console.visits import Visit
from waypost.domain import errors
from waypost.domain.directory import aliases
from waypost.domain.directory.aliases import AliasLink
from waypost.domain.iam.actions import INSPECT

CANDIDATES = 50
"""The number of email addresses on a page."""

ALIAS, PRIMARY = "alias", "primary"
"""The side of the link that the person chooses, in the URL."""


class Candidate(Struct, frozen=True):
    """An email address that may be the other end of a link, or the reason why it may not."""

    id: str
    address: str
    display_name: str
    primary_id: str
    alias_id: str
    refusal: str
    """The message with which the API would refuse the link; empty if it would not, or if the person may not know."""


async def choose(visit: Visit) -> Response:
    """Show the email addresses of the instance, first those that may be linked to the one in the URL."""
    named = visit.request.path_params
    place, own_id = Place(named["region"], named["instance"]), named["id"]
    side = visit.query.get("side", ALIAS)
    if side not in {ALIAS, PRIMARY}:
        raise errors.Invalid(f"`side` must be `{ALIAS}` or `{PRIMARY}`, not {side[:100]!a}.")
    described = await visit.call(place.call("DescribeEmailAddress", EmailAddressId=own_id))
    find = visit.query.get("find", "")
    criteria = {"FieldName": "emailAddress", "Value": find, "ComparisonType": "CONTAINS"}
    found = await visit.call(
        place.call(
            "SearchEmailAddresses",
            MaxResults=CANDIDATES,
            SearchCriteria={"StringCondition": criteria} if find else {},
            NextToken=visit.query.get("next") or None,
        )
    )
    rows = [row for row in found["EmailAddresses"] if row["EmailAddressId"] != own_id]
    # The reasons name other ends of links, which the API shows only to a caller who may change these links.
    links = await _links(visit, [own_id, *(row["EmailAddressId"] for row in rows)]) if visit.allows(INSPECT) else {}
    candidates = [_candidate(visit, row, own_id, side, links) for row in rows]
    following = {"side": side, "find": find, "next": found.get("NextToken") or ""}
    return visit.page(
        "link.html",
        place=place,
        email_address_id=own_id,
        described=described,
        side=side,
        possible=[one for one in candidates if not one.refusal],
        impossible=[one for one in candidates if one.refusal],
        following=following if following["next"] else {},
    )


async def _links(visit: Visit, ids: list[str]) -> Mapping[str, AliasLink]:
    def of_all(tx: ports.ReadTx) -> Mapping[str, AliasLink]:
        return tx.links_of(ids)

    return await visit.long_read(of_all, what="the alias links")


def _candidate(
    visit: Visit, row: Mapping[str, Any], own_id: str, side: str, links: Mapping[str, AliasLink]
) -> Candidate:
    other_id = row["EmailAddressId"]
    primary_id, alias_id = (own_id, other_id) if side == ALIAS else (other_id, own_id)
    refusal = aliases.refusal(
        primary_id,
        alias_id,
        link_of_primary=links.get(primary_id),
        link_of_alias=links.get(alias_id),
        now=visit.parts.clock(),
    )
    return Candidate(other_id, row["EmailAddress"], row.get("DisplayName") or "", primary_id, alias_id, refusal)
