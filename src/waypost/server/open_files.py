"""How many connections fit into the files that the system lets this process open, each connection being one."""

from typing import NamedTuple

OWN_FILES = 100
"""For what no client and no destination is: the database, the log, the listeners, modules, and pipes."""

FILES_OF_AN_ATTEMPT = 5
"""What one attempt of a delivery has open at most: one into a Maildir has four directories and the file itself."""

FEWEST = 10
"""Connections of each kind that there may be, however few files there are."""

HTTP_SHARE = 4
"""Where not all fit, one in so many is for HTTP, and the others are for mail."""


class Connections(NamedTuple):
    """How many connections of clients there may be at once."""

    smtp: int
    http: int


def connections_within(files: float, wanted: Connections, *, others: int) -> Connections:
    """The connections that there may be, where so many files may be open.

    `others` are files for connections of our own, to destinations and to a database. Each kind has a part that the
    other kind cannot take: so SMTP answers when HTTP is full, and the other way round.
    """
    free = files - OWN_FILES - others
    if wanted.smtp + wanted.http <= free:
        return wanted
    http = min(wanted.http, max(FEWEST, int(free / HTTP_SHARE)))
    return Connections(smtp=min(wanted.smtp, max(FEWEST, int(free) - http)), http=http)
