"""The rules that stored data must follow, for both databases."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from waypost.app.ports.backups import Finding
from waypost.domain.mail import checksums

RULES = {
    "addresses_without_instance": "The instance of this email address is missing.",
    "links_without_address": "An alias link names this email address, which is missing.",
    "links_not_of_two": "The alias link of this email address is not between one primary and one alias.",
    "links_between_instances": "The alias link of this email address leads to another instance.",
    "messages_without_octets": "The bytes of this message are missing.",
    "messages_with_wrong_octets": "The bytes of this message have gaps, or another size than the message.",
    "octets_without_message": "There are bytes of this message, but the message is missing.",
    "deliveries_without_message": "The message of this delivery is missing.",
    "events_without_message": "There is a trace of this message, but the message is missing.",
    "plans_without_message": "Deliveries of this message are planned, but the message is missing.",
    "queue_without_message": "The message of this entry of the queue is missing.",
    "queue_without_delivery": "This entry of the queue belongs to no queued delivery.",
    "deliveries_without_queue": "This delivery is queued, but it is not in the queue.",
}
"""For each query in `sql/common/verifying.sql`: what is wrong with the rows that it returns."""

TABLES = (
    "instances",
    "email_addresses",
    "alias_link_ends",
    "messages",
    "message_bodies",
    "messages_begun",
    "deliveries",
    "trace_events",
    "planned_deliveries",
    "notices_owed",
    "queue",
)
"""The tables that these queries read. The first column of each is the id by which the queries look for rows."""

DAMAGED = "The bytes of this message are damaged: they are not those that were stored."
"""What is wrong with a message of which a piece does not have its checksum."""

PIECES_AT_ONCE = 32
"""The number of pieces of messages that are read at a time: at most 8 MiB."""

TOO_OLD = "The rules were not checked, because the database has the schema of an older version of Waypost."


def broken_rules(fetch: Callable[[str], Iterable[Any]]) -> Iterator[Finding]:
    """Yield a finding for each row that breaks a rule. `fetch` runs a named query and returns its rows."""
    for query, what in RULES.items():
        for (found,) in fetch(query):
            yield Finding(what, str(found))


def damaged(fetch: Callable[[str, tuple[str, int, int]], Sequence[Any]]) -> Iterator[Finding]:
    """Yield a finding for each message of which a piece does not have its checksum.

    `fetch` runs a named query with parameters, and returns its rows.
    """
    after, found = ("", -1), ""
    while pieces := fetch("pieces_with_checksums", (*after, PIECES_AT_ONCE)):
        for message_id, start, octets, checksum in pieces:
            if message_id != found and not checksums.fits(checksum, message_id, start, octets):
                found = message_id
                yield Finding(DAMAGED, message_id)
        after = pieces[-1][0], pieces[-1][1]


def checked(pieces: Iterable[tuple[Any, ...]], columns: Sequence[str], damaged: set[str]) -> Iterator[tuple[Any, ...]]:
    """Yield pieces of messages with the numbers of their bytes in place of the bytes. Add the ids of those messages to
    `damaged` of which a piece does not have its checksum.
    """
    message_id, start, octets, checksum = map(columns.index, ("message_id", "start", "octets", "checksum"))
    for piece in pieces:
        if not checksums.fits(piece[checksum], piece[message_id], piece[start], piece[octets]):
            damaged.add(piece[message_id])
        yield (*piece[:octets], len(piece[octets]), *piece[octets + 1 :])
