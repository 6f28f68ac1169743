"""Computes how many connections are possible with the files that this process may open; each connection is one file."""

from typing import NamedTuple

OWN_FILES = 100
"""Files for other uses: the database, the log, the listeners, modules, and pipes."""

FILES_OF_AN_ATTEMPT = 5
"""The most files that one attempt has open: a delivery into a Maildir has four directories and the file itself."""

FEWEST = 10
"""Connections of each kind that are always possible, however few files there are."""

HTTP_SHARE = 4
"""If not all fit, one in this many is for HTTP, and the others are for mail."""


class Connections(NamedTuple):
    """The limits of client connections at the same time."""

    smtp: int
    http: int


def connections_within(files: float, wanted: Connections, *, others: int) -> Connections:
    """The connections that are possible with this many open files.

    `others` are files for the server's own connections, to destinations and to a database. Each kind has a part that
    the other kind cannot take: so SMTP answers when HTTP is full, and the other way round.
    """
    free = files - OWN_FILES - others
    if wanted.smtp + wanted.http <= free:
        return wanted
    http = min(wanted.http, max(FEWEST, int(free / HTTP_SHARE)))
    return Connections(smtp=min(wanted.smtp, max(FEWEST, int(free) - http)), http=http)
