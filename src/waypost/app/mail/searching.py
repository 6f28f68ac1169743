"""Search the mail of an account, and its refusals."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail import indexing, mailbox
from waypost.domain import errors
from waypost.domain.mail import mail_search, messages
from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.mail_filter import MailFilter
from waypost.domain.mail.mail_search import Field, Query
from waypost.domain.mail.messages import Message

REFUSALS_READ = 5_000
"""The maximum number of refusals that one page of a search compares with the query."""


class Results(Struct, frozen=True, kw_only=True):
    """A page of the results of a search."""

    found: Sequence[tuple[Delivery, Message]] = ()
    """The messages that match, newest first, each with one delivery that meets the query."""
    refusals: Sequence[ports.Refusal] = ()
    """The refusals that match, newest first; empty unless the query is for refusals."""
    next: str | None = None
    """The cursor of the next page; None after the last page."""
    indexed_until: datetime | None = None
    """The text index has all mail that was accepted up to this time. None if it has all mail, or if the query needs no
    text index.
    """


def search(
    tx: ports.ReadTx,
    account: str,
    query: Query,
    *,
    servers_owner: str,
    refused_since: datetime,
    after: str | None,
    limit: int,
) -> Results:
    """Return a page of the mail of an account that matches a query, newest first.

    `after` is the `next` of the previous page; None for the first page. For a search for refusals, `servers_owner` and
    `refused_since` have the same meaning as in `mailbox.refusals`. Raises `errors.Invalid` for a cursor that is not
    from this search.
    """
    if query.is_refused:
        return _refusals(tx, account, query, servers_owner, refused_since, after=after, limit=limit)
    if query.id:
        return _with_id(tx, account, query, limit=limit)
    if not query.phrases:
        return _without_words(tx, account, query.filters, after=after, limit=limit)
    place = None if after is None else _number(after)
    hits = tx.search_mail(account, query.phrases, query.filters, after=place, limit=limit)
    return Results(
        found=[(hit.delivery, hit.message) for hit in hits],
        next=str(hits[-1].number) if len(hits) == limit else None,
        indexed_until=indexing.indexed_until(tx),
    )


def _without_words(tx: ports.ReadTx, account: str, filters: MailFilter, *, after: str | None, limit: int) -> Results:
    """Return a page of the messages with a delivery that meets a filter. The text index is not needed."""
    found: list[tuple[Delivery, Message]] = []
    while len(found) < limit:
        page = mailbox.page(tx, account, filters, after=after, limit=limit)
        for delivery, message in page:
            if message.id != after:
                found.append((delivery, message))
                after = message.id
        if len(page) < limit:
            return Results(found=found[:limit], next=found[limit - 1][1].id if len(found) > limit else None)
    return Results(found=found[:limit], next=found[limit - 1][1].id)


def _with_id(tx: ports.ReadTx, account: str, query: Query, *, limit: int) -> Results:
    """Return the messages with an id or Message-ID. If the query also has words, it looks for these in the index."""
    own = tx.message(account, query.id)
    header_id = messages.read_header_id(query.id)
    found = [own] if own else tx.messages_with_header_id(account, header_id, limit=limit) if header_id else []
    matched = []
    for message in found:
        deliveries = [
            one for one in tx.deliveries_of(account, message.id) if query.filters.is_met(one, message.received_at)
        ]
        if deliveries and (not query.phrases or _has(tx, account, message, query)):
            matched.append((deliveries[0], message))
    return Results(found=matched)


def _has(tx: ports.ReadTx, account: str, message: Message, query: Query) -> bool:
    """Return whether the index has a message with the phrases of a query."""
    then = MailFilter(since=message.received_at, before=message.received_at + timedelta(milliseconds=1))
    hits = tx.search_mail(account, query.phrases, then, after=None, limit=_SAME_MILLISECOND)
    return any(hit.message.id == message.id for hit in hits)


_SAME_MILLISECOND = 1_000


def _refusals(
    tx: ports.ReadTx,
    account: str,
    query: Query,
    servers_owner: str,
    since: datetime,
    *,
    after: str | None,
    limit: int,
) -> Results:
    """Return a page of the refusals that match. A page can have fewer than `limit` refusals and still have a next page,
    because one page compares at most `REFUSALS_READ` refusals with the query.
    """
    found: list[ports.Refusal] = []
    numbered = tx.refusals_in(
        account,
        with_unowned=account == servers_owner,
        since=max(since, query.filters.since or since),
        after=mailbox.place_of_refusal(after),
        limit=REFUSALS_READ,
    )
    for number, refusal in numbered:
        if _matches(refusal, query):
            found.append(refusal)
        if len(found) == limit:
            return Results(refusals=found, next=mailbox.cursor_of_refusal(number, refusal))
    return Results(
        refusals=found, next=mailbox.cursor_of_refusal(*numbered[-1]) if len(numbered) == REFUSALS_READ else None
    )


def _matches(refusal: ports.Refusal, query: Query) -> bool:
    if query.filters.before and refusal.at >= query.filters.before:
        return False
    texts = {
        Field.FROM: refusal.sender,
        Field.TO: refusal.recipient,
        Field.ANY: f"{refusal.reply} {refusal.peer} {refusal.helo}",
    }
    return all(mail_search.is_match(phrase, texts) for phrase in query.phrases)


def _number(cursor: str) -> int:
    if not cursor.isdecimal() or len(cursor) > _DIGITS:
        raise errors.Invalid("`after` must be the `next` of the previous page of the same search.")
    return int(cursor)


_DIGITS = 19
