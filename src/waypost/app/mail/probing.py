"""Reads what the self-probe needs: the alias and its primary, how far a probe has come, and old probes to delete."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from waypost.app import ports
from waypost.domain.directory.addresses import Address
from waypost.domain.mail import probes
from waypost.domain.mail.probes import Result, Target

LISTED_AT_ONCE = 100
"""The maximum number of messages of the alias among which one read searches old probes."""


class Place(Struct, frozen=True):
    """How far the search for old probes has come, from the newest message of the alias to the oldest."""

    after: str
    """The id of the last delivery that was read."""
    newest: tuple[str, ...] = ()
    """The Message-IDs of the probes to keep, the newest first, among the messages that were read."""


class Found(Struct, frozen=True):
    """The result of a step of the search for old probes."""

    superfluous: Sequence[str]
    """The ids of messages that should be deleted."""
    place: Place | None
    """Where the next step continues; None if it begins again with the newest message."""


def find_target(tx: ports.ReadTx, alias: Address) -> Target | None:
    """Return the alias with this address and its primary, or None if the address is not an alias."""
    found = tx.email_address_by_key(alias.key)
    link = tx.links_of([found.id]).get(found.id) if found else None
    if found is None or link is None or link.alias_id != found.id:
        return None
    return Target(found.account, alias.key, found.id, link.primary_id)


def result(tx: ports.ReadTx, target: Target, message_id: str) -> Result | None:
    """Return how the probe with this message has ended; None if it has not ended yet."""
    return probes.result_of(tx.deliveries_of(target.account, message_id), target)


def search_old(
    tx: ports.ReadTx, target: Target, key: bytes, *, keep: int, since: datetime, place: Place | None
) -> Found:
    """Search the messages of probes at the alias that should be deleted: all but the newest `keep`, and all that were
    received before the time `since`. Such a message is left if a probe has failed, or if its server was killed.

    The alias can have any number of other messages, so the search has steps. Each begins at `place`, which is the
    result of the one before.
    """
    after, newest = (place.after, list(place.newest)) if place else (None, [])
    listed = tx.deliveries_to(target.account, target.alias_key, after=after, limit=LISTED_AT_ONCE)
    old = []
    for message in [message for _, message in listed if probes.is_probe(message, target.alias_key, key)]:
        # Copies of one probe, which another program may have sent, count only once.
        if message.header_id not in newest and len(newest) < keep:
            newest.append(message.header_id)
        if message.header_id not in newest or message.received_at < since:
            old.append(message.id)
    is_end = len(listed) < LISTED_AT_ONCE
    return Found(old, None if is_end else Place(listed[-1][0].message_id, tuple(newest)))
