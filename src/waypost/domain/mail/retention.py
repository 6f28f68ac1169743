"""The retention rules, which limit the age and the total size of the mail in an email address's inbox.

A rule has three parts: the addresses that it applies to (`match`, as in a route), the maximum age of mail, and the
maximum size of an inbox. The first rule that matches an address applies. If no rule matches, all mail is kept
indefinitely. Retention deletes only delivered mail. Queued mail and dead letters are kept, regardless of their age.
Dead letters have a retention period of their own, which is a setting of the server.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from waypost.domain.directory import addresses
from waypost.domain.mail import messages, routes
from waypost.domain.mail.messages import AFTER_ALL_IDS

_EPOCH = datetime.fromtimestamp(0, UTC)


class Rule(Struct, frozen=True):
    """A retention rule: the maximum age of mail and the maximum size of each inbox, for some addresses.

    If a rule has neither an age nor a size, all mail is kept.
    """

    match: str
    """The addresses that the rule applies to, as in a route: an address, `*@DOMAIN`, `instance:ID`, or `*`."""
    age: timedelta | None = None
    """The maximum age of mail, counted from the time when the server received it. Older mail is deleted."""
    size: int | None = None
    """The maximum total size of the messages in an inbox, in bytes. The oldest mail is deleted first.

    The newest message is always kept, even if it is larger than the limit.
    """


class Inbox(Struct, frozen=True):
    """An account's mail for one address. The mail remains after the email address is deleted."""

    account: str
    address_key: str


class Delivered(Struct, frozen=True):
    """A completed delivery of a message to an inbox or over a route."""

    message_id: str
    received_at: datetime
    size: int
    """The size of the message as the client sent it after DATA, in bytes."""
    kept: bool
    """Whether the message is in the inbox. If the message is not in the inbox, the store contains only its trace."""


def find(rules: Iterable[Rule], address: addresses.Address, instance_id: str | None) -> Rule | None:
    """Return the first rule that matches an address; None if no rule matches.

    `instance_id` is None if the email address was deleted. Rules for an instance cannot match a deleted email address,
    but all other rules can.
    """
    names = routes.names_of(address, instance_id)
    return next((rule for rule in rules if rule.match in names), None)


def first_cursor(rule: Rule, now: datetime) -> str:
    """Return an id that sorts after the id of each message that a rule may delete.

    The result is empty if the rule deletes nothing.
    """
    if rule.size is not None:
        return AFTER_ALL_IDS
    # A message gets its id before it is received, so a message with a later id cannot be too old.
    too_old = _too_old_before(rule, now)
    return messages.first_id(too_old) if too_old else ""


def to_delete(
    rule: Rule, delivered: Sequence[Delivered], *, now: datetime, newer: int = 0
) -> tuple[list[Delivered], int]:
    """Return the deliveries to delete from an inbox, and the total size of the mail counted so far, in bytes.

    `delivered` is one batch of the inbox's deliveries, newest first. `newer` is the size that the call for the previous
    batch returned. Once the size limit is exceeded, all older messages are deleted, even small ones that would still
    fit, so that the inbox has no gaps.
    """
    too_old = _too_old_before(rule, now)
    expired = []
    for delivery in delivered:
        if too_old and delivery.received_at < too_old:
            expired.append(delivery)
        elif delivery.kept:
            is_newest = newer == 0
            newer += max(delivery.size, 1)  # never 0, so that the next message does not count as the newest
            if rule.size is not None and newer > rule.size and not is_newest:
                expired.append(delivery)
    return expired, newer


def _too_old_before(rule: Rule, now: datetime) -> datetime | None:
    if rule.age is None or rule.age >= now - _EPOCH:
        return None
    return now - rule.age
