"""The pages that forward the mail of an alias to its primary again."""

from datetime import datetime

from msgspec import Struct
from starlette.responses import Response

from waypost.app import ports
from waypost.app.mail import mailbox
from waypost.app.queue import redrive
from waypost.app.steps import Step, run_steps
from waypost.console.rendering import plural
from waypost.console.views.queue import Totals, address_of, since_of, totals
from waypost.console.visits import Visit
from waypost.domain import errors, moments
from waypost.domain.directory.addresses import Address
from waypost.domain.iam.actions import INSPECT
from waypost.domain.mail.mail_filter import MailFilter

PATH = "/queue/forward-again"

COUNTED_UP_TO = 1_000
"""The maximum number of messages that the page counts before it asks."""

AGES = {"1h": "in the last hour", "1d": "in the last day", "7d": "in the last 7 days", "30d": "in the last 30 days"}
"""The choices of the form, with their names on the page."""


class Asked(Struct, frozen=True):
    """The mail that a person has asked to forward again."""

    alias: Address
    since: datetime


async def ask(visit: Visit) -> Response:
    """Show a form for the alias and the time or, if the query has both, how much mail they mean."""
    visit.require(INSPECT)  # because the page shows how much mail the alias has
    address = visit.query.get("address", "").strip()
    asked = _asked(address, visit.query.get("since", ""), visit.parts.mail_clock()) if address else None

    def read(tx: ports.ReadTx) -> tuple[Totals, str, int]:
        if asked is None:
            return totals(tx, visit.account), "", 0
        primary = redrive.primary_of(tx, visit.account, asked.alias)
        filters = MailFilter(address_key=asked.alias.key, since=asked.since)
        found = mailbox.page(tx, visit.account, filters, after=None, limit=COUNTED_UP_TO)
        return totals(tx, visit.account), primary.address.text, len(found)

    counts, primary, count = await visit.long_read(read, what="the mail of the alias")
    return visit.page(
        "replay.html",
        totals=counts,
        asked=asked,
        since=moments.iso8601(asked.since) if asked else "",
        primary=primary,
        count=count,
        is_at_least=count == COUNTED_UP_TO,
        ages=AGES,
    )


async def forward(visit: Visit) -> Response:
    """Forward the mail again, in many small transactions, and wake the worker."""
    parts = visit.parts
    asked = _asked(visit.form.get("address", "").strip(), visit.form.get("since", ""), parts.mail_clock())

    def step(tx: ports.WriteTx, before: str | None) -> Step[int, str]:
        return redrive.replay(
            tx,
            parts.deployment,
            visit.account,
            asked.alias,
            since=asked.since,
            before=before,
            now=parts.mail_clock(),
        )

    count = sum([done async for done in run_steps(visit.write, step)])
    parts.wake()
    notice = f"{plural(count, 'message')} {'was' if count == 1 else 'were'} forwarded again."
    return visit.redirect(PATH, notice=notice)


def _asked(address: str, since: str, now: datetime) -> Asked:
    """Return what a query or a form asks for. Raises `errors.Invalid`."""
    alias, begins_at = address_of(address), since_of(since, now)
    if alias is None or begins_at is None:
        raise errors.Invalid("Name an alias and a time.")
    return Asked(alias, begins_at)
