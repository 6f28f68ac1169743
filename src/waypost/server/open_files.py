"""Computes how many connections are possible with the number of files that this process may open."""

from typing import NamedTuple

OWN_FILES = 100
"""The number of open files that are reserved for the database, the log, the listeners, modules and pipes."""

FILES_OF_AN_ATTEMPT = 5
"""The maximum number of files that one delivery attempt opens: a delivery into a Maildir opens four directories and a
file."""

FEWEST = 10
"""The minimum number of SMTP connections, and of HTTP connections, that the server allows, even if the process's limit
on open files is too low for them."""

HTTP_SHARE = 4
"""The divisor that determines how many of the possible connections are for HTTP if the process's limit on open files is
too low for all connections. The remaining connections are for mail."""


class Connections(NamedTuple):
    """The maximum numbers of simultaneous client connections, for mail and for HTTP."""

    smtp: int
    http: int


def connections_within(files: float, wanted: Connections, *, others: int) -> Connections:
    """Return the numbers of connections that are possible with `files` open files. Each client connection uses one open
    file.

    `others` is the number of files that the server needs for its own connections to destinations and to a database.
    Mail and HTTP each have their own share of the files. Therefore, the server still accepts mail connections when all
    HTTP connections are in use, and HTTP connections when all mail connections are in use.
    """
    free = files - OWN_FILES - others
    if wanted.smtp + wanted.http <= free:
        return wanted
    http = min(wanted.http, max(FEWEST, int(free / HTTP_SHARE)))
    return Connections(smtp=min(wanted.smtp, max(FEWEST, int(free) - http)), http=http)
