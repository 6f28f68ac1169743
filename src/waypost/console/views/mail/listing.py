"""The page with the list of mail. The third column of the page shows one message."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from starlette.responses import Response

from waypost.app import ports
from waypost.app.mail import mailbox
from waypost.console.views.mail import finding, rows, sidebar
from waypost.console.views.mail.rows import Row
from waypost.console.views.mail.selection import KINDS, REFUSED, Selection, selected
from waypost.console.views.mail.sidebar import Sidebar
from waypost.console.visits import Visit
from waypost.domain import errors


class Listed(Struct, frozen=True, kw_only=True):
    """What the first two columns of the page show."""

    rows: Sequence[Row] = ()
    """The messages, newest first."""
    refusals: Sequence[ports.Refusal] = ()
    """The refusals, newest first, if the list shows refusals."""
    next: str | None = None
    """The cursor of the next page; None after the last page."""
    indexed_until: datetime | None = None
    """The time up to which the text index has all mail; None if it has all mail, or if the list does not need it."""
    wrong: str = ""
    """What is wrong with the query of a search, as a sentence."""


DONE = {
    "deleted": "The message was deleted.",
    "redriven": "The dead letters of this message were redriven.",
    "forwarded": "The message was forwarded again.",
    "not-forwarded": "The message was not forwarded again, because the primary has it in its inbox or in the queue.",
}
"""The sentences that a page shows after an action, by the value of `done` in the URL."""


async def show(visit: Visit) -> Response:
    """Show a list of mail, and no message."""
    selection = selected(visit.query)

    def found(tx: ports.ReadTx) -> tuple[Listed, Sidebar]:
        return read(tx, visit=visit, selection=selection), sidebar.read(tx, visit)

    listed, beside = await visit.long_read(found, what="the mail")
    return visit.page("mail.html", **variables(selection, listed, beside), opened=None, done=done(visit))


def done(visit: Visit) -> str:
    """Return a sentence about the action that the person has just finished; empty if there is none."""
    return DONE.get(visit.query.get("done", ""), "")


def read(tx: ports.ReadTx, *, visit: Visit, selection: Selection) -> Listed:
    """Return the list that a selection asks for."""
    account, servers_owner = visit.account, visit.parts.deployment.owner
    since = visit.parts.mail_clock() - visit.parts.refusal_retention
    if selection.search:
        visit.parts.notes.renew_searches()
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


def variables(selection: Selection, listed: Listed, beside: Sidebar, *, chosen: str = "") -> dict[str, Any]:
    """Return the variables of the template for the first two columns. `chosen` is the id of the open message."""
    found = listed.rows
    return {
        "selection": selection,
        "kinds": [
            (label, selection.of_kind(kind), sidebar.count_in_words(beside.kinds.get(kind, 0)))
            for kind, label in KINDS.items()
        ],
        "addresses": [
            (one.address, selection.of_address(one.address), one.count, one.is_primary)
            for one in sidebar.with_address(beside.addresses, selection.address)
        ],
        "rows": found,
        "refusals": listed.refusals,
        "older": selection.next(listed.next) if listed.next else None,
        "newest": found[0].id if found else "",
        "chosen": chosen,
        "indexed_until": listed.indexed_until,
        "wrong": listed.wrong,
    }


def _refusals(
    tx: ports.ReadTx, account: str, after: str | None, *, servers_owner: str, since: datetime
) -> mailbox.Refusals:
    try:
        return mailbox.refusals(
            tx, account, servers_owner=servers_owner, since=since, after=after, limit=rows.PAGE_SIZE
        )
    except ValueError as error:
        raise errors.Invalid("`after` must be from the link to older refusals.") from error
