"""The pages that list dead letters and redrive them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from starlette.responses import Response

from waypost.app import ports
from waypost.app.queue import redrive
from waypost.app.steps import Step, run_steps
from waypost.console.rendering import plural
from waypost.console.views.queue import PAGE_SIZE, Totals, address_of, because, page_start, since_of, totals
from waypost.console.visits import Visit
from waypost.domain import errors, moments
from waypost.domain.directory.addresses import Address
from waypost.domain.iam.actions import INSPECT, REDRIVE
from waypost.domain.mail.routes import shown

LIST = "/queue/dead-letters"

AGES = {"": "any time", "1h": "the last hour", "1d": "the last day", "7d": "the last 7 days"}
"""The choices of the filter by age, with their names on the page."""


class Filters(Struct, frozen=True):
    """The conditions that the dead letters in the list meet."""

    address: Address | None
    since: datetime | None
    """The time at which their messages arrived at the earliest; None for any time."""


class Chosen(Struct, frozen=True):
    """The dead letters to redrive."""

    ids: Sequence[str]
    """Their ids; empty for all that meet the filters."""
    filters: Filters


class Row(Struct, frozen=True):
    """A dead letter as the page shows it."""

    letter: ports.DeadLetter
    destination: str
    because: str


async def show(visit: Visit) -> Response:
    """Show the dead letters that meet the filters, in the order in which their messages arrived."""
    filters, after = _filters(visit.query, visit.parts.mail_clock()), page_start(visit.query)

    def read(tx: ports.ReadTx) -> tuple[list[ports.DeadLetter], int, Totals]:
        letters = redrive.dead_letters(
            tx, visit.account, address=filters.address, since=filters.since, after=after, limit=PAGE_SIZE
        )
        return letters, _count(tx, visit.account, filters), totals(tx, visit.account)

    letters, count, counts = await visit.long_read(read, what="the dead letters", instead="Choose fewer with a filter.")
    return visit.page(
        "dead_letters.html",
        totals=counts,
        rows=[_row(letter) for letter in letters],
        count=count,
        ages=AGES,
        may_redrive=visit.allows(REDRIVE),
        filters={name: visit.query[name] for name in ("address", "since") if visit.query.get(name)},
        after=after,
        next=letters[-1].delivery.id if len(letters) == PAGE_SIZE else "",
    )


async def ask(visit: Visit) -> Response:
    """Say how many dead letters a redrive is for, and what it does, and ask for a confirmation."""
    visit.require(INSPECT)  # because the page shows mail
    given = {**visit.query, "letters": " ".join(visit.request.query_params.getlist("letter"))}
    chosen = _chosen(given, visit.parts.mail_clock())

    def read(tx: ports.ReadTx) -> tuple[int, Counter[tuple[str, str]]]:
        if not chosen.ids:
            return _count(tx, visit.account, chosen.filters), Counter()
        found = [redrive.dead_letter(tx, visit.account, one) for one in chosen.ids]
        return len(found), Counter((one.address.text, shown(one.destination)) for one in found)

    count, groups = await visit.long_read(read, what="the dead letters")
    if not count:
        raise errors.NotFound("There are no such dead letters. Perhaps they have been redriven.")
    return visit.page(
        "redrive.html",
        count=count,
        is_at_least=count == redrive.COUNTED_UP_TO,
        groups=groups.most_common(),
        fields=_fields(chosen),
        address=chosen.filters.address,
        since=chosen.filters.since,
    )


async def redrive_chosen(visit: Visit) -> Response:
    """Redrive the chosen dead letters, in many small transactions, and wake the worker."""
    clock = visit.parts.mail_clock
    chosen = _chosen(visit.form, clock())
    of = chosen.filters

    def step(tx: ports.WriteTx, after: str | None) -> Step[int, str]:
        return redrive.redrive(
            tx, visit.account, ids=chosen.ids, address=of.address, since=of.since, after=after or "", now=clock()
        )

    count = sum([done async for done in run_steps(visit.write, step)])
    visit.parts.wake()
    verb = "was" if count == 1 else "were"
    notice = f"{plural(count, 'dead letter')} {verb} redriven. The server attempts each of them now."
    return visit.redirect(LIST, notice=notice)


def _count(tx: ports.ReadTx, account: str, filters: Filters) -> int:
    return redrive.count_dead_letters(tx, account, address=filters.address, since=filters.since)


def _row(letter: ports.DeadLetter) -> Row:
    destination = letter.delivery.destination
    return Row(letter, shown(destination), because(letter.because, destination))


def _chosen(given: Mapping[str, str], now: datetime) -> Chosen:
    """Return the dead letters that a query or a form names. Raises `errors.Invalid`."""
    ids = list(dict.fromkeys(given.get("letters", "").split()))
    if not ids and given.get("all") != "yes":
        raise errors.Invalid("No dead letter is selected. Go back, and select at least one.")
    if len(ids) > redrive.AT_ONCE:
        raise errors.Invalid(f"Select at most {redrive.AT_ONCE} dead letters, or redrive all.")
    return Chosen(ids, Filters(None, None) if ids else _filters(given, now))


def _fields(chosen: Chosen) -> dict[str, str]:
    """Return the hidden fields of the form that redrives the chosen dead letters. The time is absolute, so that the
    form is for the dead letters that the page has counted.
    """
    if chosen.ids:
        return {"letters": " ".join(chosen.ids)}
    address, since = chosen.filters.address, chosen.filters.since
    return {
        "all": "yes",
        **({"address": address.text} if address else {}),
        **({"since": moments.iso8601(since)} if since else {}),
    }


def _filters(given: Mapping[str, str], now: datetime) -> Filters:
    """Return the filters that a query or a form names. A time is a duration before now, or absolute."""
    return Filters(address_of(given.get("address", "").strip()), since_of(given.get("since", ""), now))
