"""The page of one email address: its texts, tags, link, path, and what would happen to mail for it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from msgspec import Struct
from starlette.responses import Response

from waypost.app.mail import explain, mail_paths
from waypost.console.calls import Call, Refused
from waypost.console.views import explaining, places
from waypost.console.views.mail import rows
from waypost.console.views.mail.selection import Selection
from waypost.console.views.places import Place
from waypost.console.visits import Visit
from waypost.domain.directory import addresses
from waypost.domain.iam.actions import INSPECT

NEWEST = 5
"""The number of messages of its inbox on the page of an email address."""


async def show(visit: Visit) -> Response:
    """Show the page of an email address."""
    return await _page(visit)


async def back(visit: Visit) -> Response:
    """Send a browser from the URL of a form, which it may keep after a refusal, to the page of the email address."""
    place, email_address_id = _named(visit)
    return visit.redirect(place.path(email_address_id))


async def edit(visit: Visit) -> Response:
    """Change the texts of an email address. A text that the person has not changed is left out of the call."""
    place, email_address_id = _named(visit)
    changed = {
        member: text
        for member, field in (("DisplayName", "display_name"), ("Description", "description"))
        if (text := places.text_of(visit, field)) != places.text_of(visit, f"{field}_before")
    }
    call = place.call("UpdateEmailAddressMetadata", EmailAddressId=email_address_id, **changed)
    return await places.act(visit, call, then=place.path(email_address_id), otherwise=partial(_page, visit))


async def tag(visit: Visit) -> Response:
    """Add a tag, or give a tag another value."""
    place, email_address_id = _named(visit)
    described = await _described(visit, place, email_address_id)
    tags = {visit.form.get("key", "").strip(): visit.form.get("value", "")}
    call = Call("TagResource", place.region, {"resourceArn": described["EmailAddressArn"], "tags": tags})
    return await places.act(visit, call, then=place.path(email_address_id), otherwise=partial(_page, visit))


async def untag(visit: Visit) -> Response:
    """Remove a tag."""
    place, email_address_id = _named(visit)
    described = await _described(visit, place, email_address_id)
    keys = [visit.form.get("key", "")]
    call = Call("UntagResource", place.region, {"resourceArn": described["EmailAddressArn"], "tagKeys": keys})
    return await places.act(visit, call, then=place.path(email_address_id), otherwise=partial(_page, visit))


async def ask_to_delete(visit: Visit) -> Response:
    """Show what happens if the email address is deleted, with the button that deletes it."""
    place, email_address_id = _named(visit)
    described = await _described(visit, place, email_address_id)
    steps = await places.paths_of(visit, place, {email_address_id})
    return visit.page(
        "delete_address.html",
        place=place,
        email_address_id=email_address_id,
        described=described,
        steps=steps.get(email_address_id, []),
    )


async def delete(visit: Visit) -> Response:
    """Delete an email address, and show the list."""
    place, email_address_id = _named(visit)
    call = place.call("DeleteEmailAddress", EmailAddressId=email_address_id)
    return await places.act(visit, call, then=place.list_path(), otherwise=partial(_page, visit))


async def disassociate(visit: Visit) -> Response:
    """Remove the link between the email address in the URL, which is the primary, and its alias in the form."""
    return await _change_link(visit, "DisassociateEmailAddressAlias")


async def associate(visit: Visit) -> Response:
    """Make the email address in the form an alias of the email address in the URL, which is the primary."""
    return await _change_link(visit, "AssociateEmailAddressAlias")


async def _change_link(visit: Visit, operation: str) -> Response:
    place, primary_id = _named(visit)
    call = place.call(
        operation,
        EmailAddressId=primary_id,
        AliasConfiguration={"EmailAddressId": visit.form.get("alias", "")},
    )
    return await places.act(visit, call, then=place.path(primary_id), otherwise=partial(_page, visit))


async def explain_message(visit: Visit) -> Response:
    """Show what would happen to the message in the form."""
    sender = visit.form.get("sender", "").strip()
    header = explaining.header_of(visit.form.get("message", ""))
    return await _page(visit, asked=explaining.Question(explaining.sender(sender), header))


async def _page(
    visit: Visit, refused: Refused | None = None, *, asked: explaining.Question = explaining.NOTHING_KNOWN
) -> Response:
    place, email_address_id = _named(visit)
    try:
        described = await _described(visit, place, email_address_id)
    except Refused as refusal:
        raise refused or refusal from None
    steps = await places.paths_of(visit, place, {email_address_id})
    selection = Selection(address=addresses.parse(described["EmailAddress"]))
    return visit.page(
        "address.html",
        status=refused.status if refused else 200,
        place=place,
        email_address_id=email_address_id,
        described=described,
        created_at=datetime.fromisoformat(described["CreateTimestamp"]),
        modified_at=datetime.fromisoformat(described["ModifiedTimestamp"]),
        steps=steps.get(email_address_id, []),
        link=[step for step in steps.get(email_address_id, []) if step.id],
        volume=await _volume(visit, described["EmailAddress"]) if visit.allows(INSPECT) else None,
        selection=selection,
        chosen="",
        newest=await _newest(visit, selection) if visit.allows(INSPECT) else None,
        explained=await _explained(visit, described["EmailAddress"], asked) if visit.allows(INSPECT) else None,
        inspect=INSPECT,
        asked=visit.form if asked is not explaining.NOTHING_KNOWN else {},
        refused=refused,
        done=places.done(visit),
    )


async def _newest(visit: Visit, selection: Selection) -> Sequence[rows.Row]:
    """Return the newest mail of an email address."""
    use_case = partial(rows.page, account=visit.account, selection=selection)
    return (await visit.long_read(use_case, what="the mail")).rows[:NEWEST]


class _Volume(Struct, frozen=True):
    """The number of deliveries to an email address in the last day."""

    direct: int
    forwarded: int
    """The deliveries of mail that was sent to its alias."""


async def _volume(visit: Visit, address: str) -> _Volume:
    use_case = partial(mail_paths.volumes, account=visit.account, now=visit.parts.mail_clock())
    found = await visit.long_read(use_case, what="the counts of mail")
    direct = sum(count for (own, alias, _), count in found.items() if own == address and not alias)
    forwarded = sum(count for (own, alias, _), count in found.items() if own == address and alias)
    return _Volume(direct, forwarded)


async def _explained(visit: Visit, text: str, asked: explaining.Question) -> explaining.Shown:
    question = explain.Asked(addresses.parse(text), sender=asked.sender, header=asked.header)
    return explaining.shown(await explaining.explanation(visit, question))


async def _described(visit: Visit, place: Place, email_address_id: str) -> Mapping[str, Any]:
    described = await visit.call(place.call("DescribeEmailAddress", EmailAddressId=email_address_id))
    return {"DisplayName": "", "Description": "", **described}


def _named(visit: Visit) -> tuple[Place, str]:
    """Return the instance and the id of the email address in the URL."""
    named = visit.request.path_params
    return Place(named["region"], named["instance"]), named["id"]
