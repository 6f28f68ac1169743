"""Finds mail for the search box. The query language is described in `domain.mail.mail_search`."""

from datetime import datetime

from msgspec import Struct

from waypost.app import ports
from waypost.app.mail import searching
from waypost.console.views.mail import rows
from waypost.domain.mail import mail_search

OPERATORS = (
    ("order invoice", "messages with both words in the sender, a recipient, the subject or the text"),
    ('"second reminder"', "words that follow one another"),
    ("invoic*", "a word that begins like this"),
    ("from:ann to:support subject:order", "words in one part of the message"),
    ("id:ID", "the id of a message, or its Message-ID"),
    ("after:2026-11-01 before:2026-11-08", "when the server received the message, in UTC"),
    ("is:dead", "or is:direct, is:forwarded, is:notice, is:returned, is:waiting, is:refused"),
)
"""Examples of queries, each with what it finds."""


class Found(Struct, frozen=True):
    """A page of the results of a search."""

    page: rows.Page
    results: searching.Results


def found(
    tx: ports.ReadTx, account: str, text: str, *, after: str | None, servers_owner: str, since: datetime
) -> Found:
    """Return the mail that matches the text of a query, newest first. For a search for refusals, `servers_owner` and
    `since` have the same meaning as in `mailbox.refusals`. Raises `errors.Invalid` if the query has an error.
    """
    results = searching.search(
        tx,
        account,
        mail_search.parse(text),
        servers_owner=servers_owner,
        refused_since=since,
        after=after,
        limit=rows.PAGE_SIZE,
    )
    deliveries = [(tx.deliveries_of(account, message.id), message) for _, message in results.found]
    listed = [rows.row(message, some) for some, message in deliveries]
    return Found(rows.Page(listed, results.next), results)
