"""Retention: how long, and how much, the inbox of an email address keeps.

A rule has three parts: which addresses it is for (`match`, as in a route), how old mail may become, and how much of it
there may be. The first rule that matches an address wins; without one, all mail is kept for ever. Only delivered mail
is ever deleted: mail in the queue and dead letters stay, however old they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from waypost.domain.directory import addresses
from waypost.domain.mail import messages, routes

_EPOCH = datetime.fromtimestamp(0, UTC)

_NEWEST = "~"
"""Sorts behind every id."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How long, and how much, the inboxes of some addresses keep. With neither an age nor a size, all of it."""

    match: str
    """As in a route: an address, `*@DOMAIN`, `instance:ID`, or `*`."""
    age: timedelta | None = None
    """Mail that was received longer ago is deleted."""
    size: int | None = None
    """Octets of messages that an inbox may have. The oldest mail is deleted first; the newest message stays, however
    large it is."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """Where the mail of an account for an address is. It outlives the email address."""

    account: str
    address_key: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """A delivery whose route has been carried out."""

    message_id: str
    received_at: datetime
    size: int
    """Octets of the message, as sent after DATA."""
    kept: bool
    """Whether it is in the inbox. If not, only its trace is here."""


def find(rules: Iterable[Rule], address: addresses.Address, instance_id: str | None) -> Rule | None:
    """The first rule for an address; None if there is none.

    `instance_id` is None where the address is no email address any more: no rule for an instance matches then, and all
    others do.
    """
    names = routes.names_of(address, instance_id)
    return next((rule for rule in rules if rule.match in names), None)


def first_look(rule: Rule, now: datetime) -> str:
    """A message id behind all those of which some may have to be deleted; empty if none has to be."""
    if rule.size is not None:
        return _NEWEST
    # A message has its id before it is received, so what has a later id cannot be too old.
    too_old = _too_old_before(rule, now)
    return messages.new_id(too_old, 0, bytes(8)) if too_old else ""


def to_go(rule: Rule, delivered: Sequence[Delivered], *, now: datetime, newer: int = 0) -> tuple[list[Delivered], int]:
    """The deliveries of an inbox that have to be deleted, and the octets of the inbox up to here.

    `delivered` is a part of it, newest first, and `newer` what the call for the part before it gave. From the first
    message that has no room, all older ones are deleted, also one that would fit: an inbox has no gaps.
    """
    too_old = _too_old_before(rule, now)
    going = []
    for delivery in delivered:
        if too_old and delivery.received_at < too_old:
            going.append(delivery)
        elif delivery.kept:
            is_newest = newer == 0
            newer += max(delivery.size, 1)  # so that the next one is not the newest
            if rule.size is not None and newer > rule.size and not is_newest:
                going.append(delivery)
    return going, newer


def _too_old_before(rule: Rule, now: datetime) -> datetime | None:
    if rule.age is None or rule.age >= now - _EPOCH:
        return None
    return now - rule.age
