"""Finds mail for the search box.

This is the only place of the console that knows how mail is searched.
"""

from datetime import datetime

from waypost.app import ports
from waypost.app.mail import trace
from waypost.console.views.mail import rows
from waypost.domain import errors

HELP = "Search for an email address, a message id, or a Message-ID."
"""What people can search for."""


def found(tx: ports.ReadTx, account: str, what: str, *, servers_owner: str, since: datetime) -> rows.Page:
    """Return the messages that match a search, newest first. The arguments are those of `trace.find`."""
    try:
        matches = trace.find(tx, account, what, servers_owner=servers_owner, since=since, limit=rows.PAGE_SIZE).messages
    except errors.NotFound:
        return rows.Page()
    return rows.Page([rows.row([(delivery, one.message) for delivery in one.deliveries]) for one in matches])
