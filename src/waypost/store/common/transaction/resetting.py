"""A transaction's queries with which a server for tests forgets everything."""

from datetime import datetime

from waypost.store.common.transaction.routes import RouteQueries
from waypost.store.sql import kinds

_IN_ORDER = (
    "forget_all_queued",
    "forget_all_notices",
    "forget_all_plans",
    "forget_all_deliveries",
    "forget_all_events",
    "forget_all_octets",
    "forget_all_transfers",
    "forget_all_messages",
    "forget_all_refusals",
    "forget_all_words",
    "forget_all_entries",
    "forget_all_changes",
    "forget_all_counts",
    "forget_all_flows",
    "forget_all_marks",
    "forget_all_links",
    "forget_all_search_entries",
    "forget_all_email_addresses",
    "forget_all_tags",
    "forget_all_calls",
)
"""The names of the queries without parameters, in an order that keeps the foreign keys valid."""


class ResettingQueries(RouteQueries):
    """The part of `Transaction` that forgets everything. The method is documented in `app/ports/resetting.py`."""

    def forget_everything(self, *, instance_id: str, access_key_id: str, now: datetime) -> None:
        for name in _IN_ORDER:
            self._run(name)
        self._run("forget_other_instances", instance_id, kinds.to_milliseconds(now))
        self._run("forget_other_keys", access_key_id)
        self.put_routes([], revision="")
