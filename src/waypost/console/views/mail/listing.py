"""The page with the list of mail. The third column of the page shows one message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from starlette.responses import Response

from waypost.app import ports
from waypost.app.mail import mailbox
from waypost.console.views.mail import finding, rows
from waypost.console.views.mail.rows import Row
from waypost.console.views.mail.selection import KINDS, REFUSED, Selection, selected
from waypost.console.visits import Visit
from waypost.domain import errors

INSPECT = "waypost:Inspect"
"""The IAM action for reading mail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What the first two columns of the page show."""

    rows: Sequence[Row] = ()
    """The messages, newest first."""
    refusals: Sequence[ports.Refusal] = ()
    """The refusals, newest first, if the list shows refusals."""
    next: str | None = None
    """The cursor of the next page; None after the last page."""
    counts: Mapping[str, int] | None = None
    """The number of messages of some kinds, by the value of `is`. Not known until the store counts them."""
    indexed_until: datetime | None = None
    """The time up to which the text index has all mail; None if it has all mail, or if the list does not need it."""
    wrong: str = ""
    """What is wrong with the query of a search, as a sentence."""


async def show(visit: Visit) -> Response:
    """Show a list of mail, and no message."""
    selection = selected(visit.query)
    listed = await visit.long_read(partial(read, visit=visit, selection=selection), what="the mail")
    return visit.page("mail.html", **variables(selection, listed), opened=None)


def read(tx: ports.ReadTx, *, visit: Visit, selection: Selection) -> Listed:
    """Return the list that a selection asks for."""
    account, servers_owner = visit.account, visit.parts.deployment.owner
    since = visit.parts.mail_clock() - visit.parts.refusal_retention
    if selection.search:
        try:
            found = finding.found(
                tx, account, selection.search, after=selection.after, servers_owner=servers_owner, since=since
            )
        except errors.Invalid as error:
            return Listed(wrong=error.message)
        results = found.results
        return Listed(
            rows=found.page.rows,
            refusals=results.refusals,
            next=results.next,
            indexed_until=results.indexed_until,
        )
    if selection.kind == REFUSED:
        refused = _refusals(tx, account, selection.after, servers_owner=servers_owner, since=since)
        return Listed(refusals=refused.refusals, next=refused.next)
    page = rows.page(tx, account, selection)
    return Listed(rows=page.rows, next=page.next)


def variables(selection: Selection, listed: Listed, *, chosen: str = "") -> dict[str, Any]:
    """Return the variables of the template for the first two columns. `chosen` is the id of the open message."""
    found = listed.rows
    return {
        "selection": selection,
        "kinds": [(label, selection.of_kind(kind), (listed.counts or {}).get(kind)) for kind, label in KINDS.items()],
        "addresses": _addresses(selection, found),
        "rows": found,
        "refusals": listed.refusals,
        "older": selection.next(listed.next) if listed.next else None,
        "newest": found[0].id if found else "",
        "chosen": chosen,
        "indexed_until": listed.indexed_until,
        "wrong": listed.wrong,
        "operators": finding.OPERATORS,
    }


def _addresses(selection: Selection, found: Sequence[Row]) -> list[tuple[str, Selection]]:
    """Return the email addresses in the first column: the selected one, and those that the list has mail for."""
    named = [selection.address.text] if selection.address else []
    named += [name for row in found for way in row.ways for name in way.split(" → ")]
    return [(name, selection.of_address(name)) for name in dict.fromkeys(named)][:_ADDRESSES]


_ADDRESSES = 20
"""The maximum number of email addresses in the first column."""


def _refusals(
    tx: ports.ReadTx, account: str, after: str | None, *, servers_owner: str, since: datetime
) -> mailbox.Refusals:
    try:
        return mailbox.refusals(
            tx, account, servers_owner=servers_owner, since=since, after=after, limit=rows.PAGE_SIZE
        )
    except ValueError as error:
        raise errors.Invalid("`after` must be from the link to older refusals.") from error
