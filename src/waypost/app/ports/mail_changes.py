"""What the background job notes about mail, after it was committed: new messages, events, and counts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.messages import Message
from waypost.domain.mail.trace_events import TraceEvent

NEW_MESSAGE = -1
"""The `event` of the change that notes a new message."""

REMOVAL = -2
"""The `event` of the change that notes a removed delivery."""


class MailMark(Struct, frozen=True):
    """How far the job is."""

    message_id: str
    """All messages with ids up to this one are noted, except those that were committed late."""
    at: datetime | None
    """The time of the last message or event; None if there is none."""


class NotNoted(Struct, frozen=True):
    """A message that is not noted."""

    id: str
    received_at: datetime


class NotedDelivery(Struct, frozen=True):
    """What the job needs to know about a delivery."""

    message_id: str
    account: str
    email_address_id: str
    address: str
    sent_to: str
    via: str
    destination: str


class Event(Struct, frozen=True):
    """An event of a trace, with its message and its number in the trace."""

    message_id: str
    number: int
    event: TraceEvent


class NewChange(Struct, frozen=True, kw_only=True):
    """A change to note."""

    account: str
    message_id: str
    email_address_id: str
    """The email address of the delivery; empty for all deliveries of the message to the account."""
    kind: str
    """`new`, `deleted`, or the kind of an event."""
    at: datetime
    event: int
    """The number of the event in the trace, `NEW_MESSAGE` or `REMOVAL`."""


class Change(Struct, frozen=True):
    """A noted change to the mail of an account."""

    number: int
    """The place of the change. A change that is noted later has a greater number."""
    message_id: str
    email_address_id: str
    kind: str
    at: datetime


class Count(Struct, frozen=True):
    """How many messages or deliveries there were in a minute."""

    minute: int
    """The minute, counted from 1970 in UTC."""
    kind: str
    count: int


class Flow(Struct, frozen=True):
    """How many deliveries took a way."""

    address: str
    alias: str
    """The alias through which the mail was forwarded; empty if it was sent to the address itself."""
    destination: str
    """The destination of the route; empty for the inbox."""
    count: int


class Way(Struct, frozen=True):
    """How many deliveries of the messages of a minute took a way."""

    account: str
    minute: int
    """The minute in which the messages were accepted, counted from 1970 in UTC."""
    address: str
    alias: str
    destination: str
    count: int


class ReadMailChanges(Protocol):
    """Methods that read what was noted, and find what is not noted yet."""

    def mail_mark(self, place: str) -> MailMark:
        """Return how far the job is with messages or events."""
        ...

    def not_noted(self, *, after: str, until: str, limit: int) -> list[NotNoted]:
        """Return up to `limit` messages of all accounts that are not noted, ordered by id, with ids greater than
        `after` and at most `until`. Messages with planned deliveries are left out.
        """
        ...

    def id_beyond(self, after: str, *, count: int) -> str:
        """Return the id of the message that is `count` messages after the id `after`; empty if there are fewer."""
        ...

    def deliveries_noted(self, message_ids: Sequence[str]) -> list[NotedDelivery]:
        """Return the deliveries of these messages, of all accounts."""
        ...

    def ways(self, message_ids: Sequence[str]) -> list[Way]:
        """Count the deliveries of messages, of all accounts."""
        ...

    def events_not_noted(self, *, since: datetime, limit: int) -> list[Event]:
        """Return up to `limit` events at or after a time that are not noted, in the order of their times."""
        ...

    def changes(self, account: str, *, after: int, limit: int) -> list[Change]:
        """Return up to `limit` changes to the mail of an account with numbers greater than `after`, in order."""
        ...

    def last_change(self, account: str) -> int:
        """Return the number of the last change to the mail of an account; zero if there is none."""
        ...

    def change_bounds(self) -> tuple[int, int]:
        """Return the numbers of the first and the last change that are kept, of all accounts; zeros if there are
        none.
        """
        ...

    def deliveries_listed(self, account: str, message_ids: Sequence[str]) -> list[tuple[Delivery, Message]]:
        """Return the deliveries of these messages to an account, each with its message."""
        ...

    def mail_counts(self, account: str, *, since: datetime) -> list[Count]:
        """Return the counts of each minute since a time, in order."""
        ...

    def refusal_counts(self, account: str, *, with_unowned: bool, since: datetime) -> Mapping[int, int]:
        """Return the number of refusals in each minute since a time. `with_unowned` has the same meaning as in
        `refusals_of`.
        """
        ...

    def mail_flows(self, account: str, *, since: datetime, limit: int) -> list[Flow]:
        """Return the `limit` ways that most deliveries took since the hour of a time, the most frequent first."""
        ...

    def destination_counts(self, account: str, *, since: datetime, limit: int) -> list[tuple[str, int, int]]:
        """Return up to `limit` counts of deliveries, the greatest first, since the hour of a time.

        Each has the destination (empty for the inbox), the hour, counted from 1970 in UTC, and the number of deliveries
        whose messages arrived in this hour.
        """
        ...


class WriteMailChanges(Protocol):
    """Methods with which the job notes mail."""

    def put_mail_mark(self, place: str, mark: MailMark) -> None:
        """Record how far the job is."""
        ...

    def note_messages(self, message_ids: Sequence[str]) -> list[tuple[str, str]]:
        """Note each message for each account that has a delivery of it. Return the ids and accounts of the new notes.
        An empty account stands for a message without deliveries. Messages that were deleted meanwhile are left out.
        """
        ...

    def add_changes_of_new(self, message_ids: Sequence[str], *, since: datetime) -> None:
        """Note those messages as new, for each account that has a delivery of them, that were accepted after a time.
        The caller holds the lock `CHANGES_LOCK`.
        """
        ...

    def add_changes(self, changes: Sequence[NewChange]) -> list[NewChange]:
        """Note changes, and return those that were not noted before.

        The caller holds the lock `CHANGES_LOCK`, so that changes become visible in the order of their numbers.
        """
        ...

    def add_mail_counts(self, account: str, counts: Sequence[Count]) -> None:
        """Add to the counts of minutes."""
        ...

    def add_mail_flows(self, account: str, *, hour: int, flows: Sequence[Flow]) -> None:
        """Add to the counts of ways in an hour, which is counted from 1970 in UTC."""
        ...

    def prune_changes(self, *, kept: int, limit: int) -> int:
        """Delete at most `limit` of the oldest changes, so that about `kept` changes stay. Return how many were
        deleted.
        """
        ...

    def forget_counts(self, *, before: datetime, limit: int) -> int:
        """Delete at most `limit` counts of each kind before a time. Return how many were deleted."""
        ...


CHANGES_LOCK = "changes of mail"
"""The name of the lock that a transaction acquires, before any other lock, to add changes."""
