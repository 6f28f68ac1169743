"""Reads what the self-probe needs: the alias and its primary, how far a probe has come, and old probes to delete."""

from collections.abc import Sequence
from datetime import datetime

from waypost.app import ports
from waypost.domain.directory.addresses import Address
from waypost.domain.mail import probes
from waypost.domain.mail.probes import Result, Target

LISTED_AT_ONCE = 100
"""The maximum number of messages of the alias among which old probes are searched."""


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


def superfluous(tx: ports.ReadTx, target: Target, key: bytes, *, keep: int, since: datetime) -> Sequence[str]:
    """Return the ids of the messages of probes at the alias that should be deleted: all but the newest `keep`, and all
    that were received before the time `since`.

    Such a message is left if a probe has failed, or if its server was killed. The result is a part of them if there are
    very many.
    """
    listed = tx.deliveries_to(target.account, target.alias_key, after=None, limit=LISTED_AT_ONCE)
    found = [message for _, message in listed if probes.is_probe(message, key)]
    return [message.id for place, message in enumerate(found) if place >= keep or message.received_at < since]
