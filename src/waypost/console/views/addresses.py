"""The list of an instance's email addresses, with the search of the API, and the form that creates one."""

from typing import Any

from starlette.responses import Response

from waypost.console import equivalents
from waypost.console.calls import Call, Refused
from waypost.console.views import places
from waypost.console.views.places import Place
from waypost.console.visits import Visit

PAGE = 50
"""The number of email addresses on a page."""

FIELDS = {
    "emailAddress": "address",
    "displayName": "display name",
    "description": "description",
    "emailAddressId": "id",
}
"""The fields that can be searched, by the value of FieldName."""

COMPARISONS = {"CONTAINS": "contains", "STARTS_WITH": "starts with", "EXACT": "is exactly"}
"""The ways to compare, by the value of ComparisonType."""

FIRST_INSTANCE = Call(
    "CreateInstance",
    "us-east-1",
    {"IdentityManagementType": "CONNECT_MANAGED", "InboundCallsEnabled": True, "OutboundCallsEnabled": True},
)
"""The call that the page suggests to an account without an instance."""


FIRST_ADDRESS = {"EmailAddress": "support@example.com"}
"""The members of the call that the page suggests for an instance without email addresses."""


async def show(visit: Visit) -> Response:
    """Show a page of the email addresses of one instance."""
    return await _page(visit, visit.query.get("in", ""))


async def create(visit: Visit) -> Response:
    """Create an email address, and show its page."""
    place = _place(visit.form.get("in", "")) or Place("", "")
    key = visit.form.get("tag_key", "").strip()
    call = place.call(
        "CreateEmailAddress",
        EmailAddress=visit.form.get("address", "").strip(),
        DisplayName=visit.form.get("display_name", "") or None,
        Description=places.text_of(visit, "description") or None,
        Tags={key: visit.form.get("tag_value", "")} if key else {},
    )
    try:
        created = await visit.call(call)
    except Refused as refused:
        return await _page(visit, place.text, refused)
    return visit.redirect(places.with_receipt(visit, call, place.path(created["EmailAddressId"])))


async def _page(visit: Visit, chosen: str, refused: Refused | None = None) -> Response:
    try:
        instances = await places.instances(visit)
    except Refused:
        if not _place(chosen):  # without a list, only a person who has the whole URL finds the instance
            raise
        instances = []
    place = next((one for one in instances if one.text == chosen), None) or _place(chosen)
    place = place or (instances[0] if instances else None)
    if place is None:
        suggested = equivalents.of(FIRST_INSTANCE, endpoint=visit.endpoint)
        return visit.page("no_instances.html", suggested=suggested)
    search = _search(visit, place)
    try:
        found = await visit.call(search)
    except Refused as refusal:
        raise refused or refusal from None
    rows = [{"DisplayName": "", **row} for row in found["EmailAddresses"]]
    paths = await places.paths_of(visit, place, {row["EmailAddressId"] for row in rows})
    following = {name: value for name, value in visit.query.items() if name in {"find", "field", "how", "tag"}}
    return visit.page(
        "addresses.html",
        status=refused.status if refused else 200,
        place=place,
        instances=instances,
        rows=rows,
        paths={one: places.beside(steps) for one, steps in paths.items()},
        total=found["ApproximateTotalCount"],
        following=place.list_path(**following, next=found["NextToken"]) if found.get("NextToken") else "",
        searches=bool(search.members.get("SearchCriteria") or search.members.get("SearchFilter")),
        searched=equivalents.of(search, endpoint=visit.endpoint),
        suggested=equivalents.of(place.call("CreateEmailAddress", **FIRST_ADDRESS), endpoint=visit.endpoint),
        fields=FIELDS,
        comparisons=COMPARISONS,
        refused=refused,
        done=places.done(visit),
    )


def _search(visit: Visit, place: Place) -> Call:
    """Return the call that finds the email addresses for which the person asks in the URL."""
    query = visit.query
    criteria: dict[str, Any] = {}
    if query.get("find"):
        criteria["StringCondition"] = {
            "FieldName": query.get("field", "") or "emailAddress",
            "Value": query["find"],
            "ComparisonType": query.get("how", "") or "CONTAINS",
        }
    tags: dict[str, Any] = {}
    key, equals, value = query.get("tag", "").partition("=")
    if key:
        tags["TagFilter"] = {"TagCondition": {"TagKey": key, **({"TagValue": value} if equals else {})}}
    return place.call(
        "SearchEmailAddresses",
        MaxResults=PAGE,
        SearchCriteria=criteria,
        SearchFilter=tags,
        NextToken=query.get("next") or None,
    )


def _place(text: str) -> Place | None:
    """Return the instance that a parameter names, such as `us-east-1/ID`. It may not exist."""
    region, slash, instance_id = text.partition("/")
    return Place(region, instance_id) if region and slash and instance_id and "/" not in instance_id else None
