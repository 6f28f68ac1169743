"""The rules that stored data must follow, for both databases."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from waypost.app.ports.backups import Finding

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

TOO_OLD = "The rules were not checked, because the database has the schema of an older version of Waypost."


def broken_rules(fetch: Callable[[str], Iterable[Any]]) -> Iterator[Finding]:
    """Yield a finding for each row that breaks a rule. `fetch` runs a named query and returns its rows."""
    for query, what in RULES.items():
        for (found,) in fetch(query):
            yield Finding(what, str(found))
