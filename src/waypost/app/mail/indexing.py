"""Index the words of mail that was noted (`noting`), so that it can be searched."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from waypost.app import ports
from waypost.app.mail import noting, trace
from waypost.domain.mail import address_fields, messages
from waypost.domain.mail.mail_words import beginning, words
from waypost.domain.mail.messages import AFTER_ALL_IDS

AT_ONCE = 50
"""The maximum number of messages that one round indexes."""

RAW_LIMIT = 1024 * 1024
"""The maximum number of bytes of a message whose text is read."""

OCTETS_AT_ONCE = 4 * 1024 * 1024
"""The number of bytes of messages after which a round reads no further message, so that it needs little memory."""

RECIPIENTS_LIMIT = 16 * 1024
"""The maximum number of characters of the recipients that are indexed for one message and account."""

WORDS_AT_ONCE = 512 * 1024
"""The number of characters after which a transaction adds no further entry, because it would delay other writes."""


def indexed_until(tx: ports.ReadTx) -> datetime | None:
    """Return the time up to which the index has all mail that was accepted. None if it has all mail."""
    mark = tx.mail_mark(noting.MESSAGES).message_id
    not_noted = tx.not_noted(after=mark, until=AFTER_ALL_IDS, limit=1)
    missing = [tx.oldest_not_indexed(), not_noted[0].received_at if not_noted else None]
    return min((at for at in missing if at), default=None)


def _read(
    tx: ports.ReadTx,
) -> tuple[Sequence[ports.NotIndexed], Mapping[str, bytes], Sequence[ports.NotedDelivery], bool]:
    """Return the messages to index, the beginnings of their bytes, their deliveries, and whether there are more."""
    listed = tx.not_indexed(limit=AT_ONCE)
    raws: dict[str, bytes] = {}
    for one in listed:
        if one.message.id not in raws:
            if sum(map(len, raws.values())) > OCTETS_AT_ONCE:
                break
            raws[one.message.id] = trace.beginning_of(tx, one.message.id, RAW_LIMIT)
    found = [one for one in listed if one.message.id in raws]
    deliveries = tx.deliveries_noted(sorted(raws)) if raws else []
    return found, raws, deliveries, len(listed) == AT_ONCE or len(found) < len(listed)


async def entries(
    reader: ports.MailText,
    found: Sequence[ports.NotIndexed],
    raws: Mapping[str, bytes],
    deliveries: Sequence[ports.NotedDelivery],
) -> list[ports.MailEntry]:
    """Return the entries of messages for the index."""
    recipients: dict[tuple[str, str], list[str]] = defaultdict(list)
    for delivery in deliveries:
        given = f"{delivery.address} {delivery.sent_to} {delivery.via}"
        recipients[delivery.message_id, delivery.account].append(given)
    bodies = {message_id: _joined(await _text(reader, raw)) for message_id, raw in raws.items()}
    made = []
    for one in found:
        message, raw = one.message, raws[one.message.id]
        authors, addressed = address_fields.read(raw[: messages.end_of_header(raw)])
        given = " ".join([*recipients[message.id, one.account], addressed])
        made.append(
            ports.MailEntry(
                number=one.number,
                account=one.account,
                sender=_joined(f"{message.envelope.sender} {authors}"),
                recipients=_joined(given[:RECIPIENTS_LIMIT]),
                subject=_joined(message.subject),
                body=bodies[message.id],
            )
        )
    return made


async def _text(reader: ports.MailText, raw: bytes) -> str:
    """Return the text of a message; empty if the store has no undamaged bytes of it, or if they cannot be read. One
    message that cannot be read must not keep others out of the index. Raises `OSError` if no message can be read now.
    """
    try:
        return await reader.text_of(raw) if raw else ""
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - see the docstring
        return ""


def _joined(text: str) -> str:
    return " ".join(words(beginning(text)))


def _parts(made: Sequence[ports.MailEntry]) -> list[list[ports.MailEntry]]:
    """Split entries into parts, each for one transaction."""
    found: list[list[ports.MailEntry]] = [[]]
    size = 0
    for entry in made:
        if size > WORDS_AT_ONCE:
            found.append([])
            size = 0
        found[-1].append(entry)
        size += len(entry.body) + len(entry.recipients)
    return found


def _add(tx: ports.WriteTx, *, entries: Sequence[ports.MailEntry]) -> None:
    tx.add_to_index(entries)


async def run_round(store: ports.Store, reader: ports.MailText) -> bool:
    """Index the words of some messages, the newest first. Return whether there are more."""
    found, raws, deliveries, has_more = await store.long_read(_read, what="the mail that is not indexed")
    if found:
        for part in _parts(await entries(reader, found, raws, deliveries)):
            await store.write(partial(_add, entries=part))
    return has_more
