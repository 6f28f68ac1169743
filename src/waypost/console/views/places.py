"""Instances and email addresses in the URLs of the console, and what all pages about email addresses need."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from msgspec import Struct
from starlette.responses import Response

from waypost.app.mail import mail_paths
from waypost.app.mail.mail_paths import MailPath
from waypost.console import equivalents, receipts
from waypost.console.calls import Call, Refused
from waypost.console.parts import PREFIX
from waypost.console.visits import Visit
from waypost.domain.iam.actions import INSPECT
from waypost.domain.mail import routes

INBOX = "inbox"
"""The destination of mail that no route sends elsewhere, as the pages show it."""

_MOST_PAGES = 20
"""The maximum number of pages of instances that are listed for each region."""


class Place(Struct, frozen=True):
    """An instance, as the URLs of the console name it."""

    region: str
    instance_id: str
    name: str = ""
    """The alias of the instance; empty if it has none, or if it is not known."""

    @property
    def text(self) -> str:
        """The value of the parameter `in` of a list of email addresses."""
        return f"{self.region}/{self.instance_id}"

    def call(self, operation: str, **members: Any) -> Call:
        """Return a call that names this instance. Members that are None or empty collections are left out."""
        given = {name: value for name, value in members.items() if value is not None and value not in ({}, [])}
        return Call(operation, self.region, {"InstanceId": self.instance_id, **given})

    def list_path(self, **query: str) -> str:
        """Return the path of the list of its email addresses, without the prefix of the console."""
        return f"/addresses?{urlencode({'in': self.text, **query})}"

    def path(self, email_address_id: str, page: str = "") -> str:
        """Return the path of the page of an email address, or of another page about it, such as `link`."""
        parts = ("addresses", self.region, self.instance_id, email_address_id, page)
        return "".join(f"/{quote(part, safe='')}" for part in parts if part)

    def url(self, email_address_id: str, page: str = "") -> str:
        """Return the path with the prefix of the console."""
        return PREFIX + self.path(email_address_id, page)


class Step(Struct, frozen=True):
    """A step of a drawn path: an email address, or the destination of a route."""

    text: str
    id: str = ""
    """The id of an email address; empty for a destination."""
    url: str = ""
    """The page of an email address; empty for the own page, and for other steps."""
    is_destination: bool = False

    @property
    def is_own(self) -> bool:
        """Whether it is the email address whose path it is."""
        return not (self.url or self.is_destination)


async def instances(visit: Visit) -> list[Place]:
    """Return the instances of the account that the person may list, by region and then by age.

    Raises `Refused` if the person may not list the instances of any region.
    """
    regions = await visit.read(lambda tx: tx.regions_of(visit.account))
    found: list[Place] = []
    refusals = []
    for region in regions:
        try:
            listed = await _listed(visit, region)
        except Refused as refused:
            refusals.append(refused)
            continue
        listed.sort(key=lambda one: one["CreatedTime"])
        found += [Place(region, one["Id"], one.get("InstanceAlias") or "") for one in listed]
    if refusals and not found:
        raise refusals[0]
    return found


async def _listed(visit: Visit, region: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    token: dict[str, str] = {}
    for _ in range(_MOST_PAGES):
        page = await visit.call(Call("ListInstances", region, token))
        found += page["InstanceSummaryList"]
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    return found


async def paths_of(visit: Visit, place: Place, ids: Collection[str]) -> dict[str, list[Step]]:
    """Return the drawn paths of email addresses of an instance, by their ids, as far as the person may see them.

    Routes are shown to a person who may inspect the account's mail. The other end of a link is shown to such a person
    too, and to a person who may describe it. The caller has found the ids with a call of the API.
    """
    use_case = partial(mail_paths.of_addresses, deployment=visit.parts.deployment, email_address_ids=sorted(ids))
    found = await visit.long_read(use_case, what="the paths of mail")
    inspects = visit.allows(INSPECT)
    others = {end.id for path in found.values() if (end := path.alias or path.primary)}
    seen = others if inspects else {one for one in others if one in ids or await _may_describe(visit, place, one)}
    return {one: _steps(place, path, seen, with_destination=inspects) for one, path in found.items()}


async def _may_describe(visit: Visit, place: Place, email_address_id: str) -> bool:
    try:
        await visit.call(place.call("DescribeEmailAddress", EmailAddressId=email_address_id))
    except Refused:
        return False
    return True


def _steps(place: Place, path: MailPath, seen: Collection[str], *, with_destination: bool) -> list[Step]:
    steps = [
        Step(one.address.text, one.id, "" if one is path.email_address else place.url(one.id))
        for one in (path.alias, path.email_address, path.primary)
        if one and (one is path.email_address or one.id in seen)
    ]
    if with_destination:
        steps.append(Step(routes.shown(path.last_destination) or INBOX, is_destination=True))
    return steps


def beside(steps: Sequence[Step]) -> tuple[Sequence[Step], Sequence[Step]]:
    """Return the steps before and after the email address whose path it is."""
    own = next(place for place, step in enumerate(steps) if step.is_own)
    return steps[:own], steps[own + 1 :]


async def act(visit: Visit, call: Call, *, then: str, otherwise: Callable[[Refused], Awaitable[Response]]) -> Response:
    """Run the call of a form. Then send the browser to the path `then`, where the page shows the call.

    If the API refuses the call, return the page `otherwise`, which shows the refusal.
    """
    try:
        await visit.call(call)
    except Refused as refused:
        return await otherwise(refused)
    return visit.redirect(with_receipt(visit, call, then))


def with_receipt(visit: Visit, call: Call, path: str) -> str:
    """Return a path on which the page shows a call that was made."""
    receipt = receipts.write(call, visit.parts.form_key, bound_to=visit.csrf_token)
    return f"{path}{'&' if '?' in path else '?'}{receipts.PARAMETER}={receipt}"


def done(visit: Visit) -> tuple[Call, equivalents.Equivalents] | None:
    """Return the call that was made before this page, and its other forms; None if there was none."""
    receipt = visit.query.get(receipts.PARAMETER, "")
    call = receipts.read(receipt, visit.parts.form_key, bound_to=visit.csrf_token) if receipt else None
    return (call, equivalents.of(call, endpoint=visit.endpoint)) if call else None


def text_of(visit: Visit, name: str) -> str:
    """Return a field of the form, with the line ends that the person typed: browsers send CRLF for each."""
    return visit.form.get(name, "").replace("\r\n", "\n")
