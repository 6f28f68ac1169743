"""Index the words of mail, after it was accepted, so that it can be searched.

A message becomes visible when its transaction commits, which may be later than the commit of messages with greater ids.
Therefore, a round looks for messages that are not indexed in three places: among the ids after the mark, among the ids
shortly before the mark, and among the messages whose transfer was in progress in the last round. Each round also checks
a few of the other messages, so that after some time all of them have been checked.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from waypost.app import ports
from waypost.domain.mail import address_fields, messages
from waypost.domain.mail.mail_words import beginning, words
from waypost.domain.mail.messages import Message

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

WINDOW = timedelta(seconds=10)
"""How far before the mark each round looks for messages that were committed late."""

CHECKED_EACH = 100
"""The number of older messages that each round checks."""

TRANSFERS = 1_000
"""The maximum number of transfers in progress that are remembered."""


class PlainText:
    """Reads a message as plain text in UTF-8, without regard to MIME."""

    async def text_of(self, raw: bytes) -> str:
        """Return everything after the header."""
        end = messages.end_of_header(raw)
        return "" if end is None else raw[end:].decode("utf-8", "replace")


@dataclass(slots=True)
class Progress:
    """What a process remembers from one round to the next."""

    in_transfer: set[str] = field(default_factory=set)
    """The ids of the messages whose transfer was in progress in the last round."""
    checked: str = ""
    """The id up to which older messages have been checked."""


@dataclass(frozen=True, slots=True)
class Round:
    """The messages that a round indexes."""

    found: Sequence[Message]
    is_full: bool
    """Whether there may be more messages to index now."""
    mark: ports.IndexMark
    """The mark after the round."""
    is_moved: bool
    """Whether the mark is another than before the round."""


def look(tx: ports.ReadTx, progress: Progress, clock: ports.Clock) -> Round:
    """Return the messages to index, and update the progress. `clock` is the clock for mail."""
    mark = tx.index_mark()
    listed = tx.not_indexed(after=mark.message_id, until=_AFTER_ALL_IDS, limit=AT_ONCE)
    new = _first(listed)
    is_full = len(listed) == AT_ONCE or len(new) < len(listed)
    found = {message.id: message for message in new}
    after = mark
    if new:
        after = ports.IndexMark(new[-1].id, new[-1].received_at)
    for message in _first(_late(tx, mark, progress, clock)):
        found.setdefault(message.id, message)
    return Round(list(found.values()), is_full, after, after != mark)


def _first(found: Sequence[Message]) -> list[Message]:
    """Return as many of these messages as are read together: at least one, if there is one."""
    size = 0
    first: list[Message] = []
    for message in found:
        if first and size > OCTETS_AT_ONCE:
            break
        first.append(message)
        size += min(message.size, RAW_LIMIT)
    return first


def _late(tx: ports.ReadTx, mark: ports.IndexMark, progress: Progress, clock: ports.Clock) -> list[Message]:
    """Return messages with ids up to the mark that are not indexed."""
    late: list[Message] = []
    if mark.received_at:
        since = messages.new_id(max(mark.received_at - WINDOW, messages.EPOCH), 0, bytes(8))
        late += tx.not_indexed(after=since, until=mark.message_id, limit=AT_ONCE)
    begun = set(tx.messages_begun(before=clock() + timedelta(days=1), limit=TRANSFERS))
    for message_id in sorted(progress.in_transfer - begun):
        late += tx.not_indexed(after=message_id[:-1], until=message_id, limit=1)
    progress.in_transfer = begun
    until = tx.id_beyond(progress.checked, count=CHECKED_EACH) or mark.message_id
    older = tx.not_indexed(after=progress.checked, until=min(until, mark.message_id), limit=AT_ONCE)
    if len(older) < AT_ONCE:
        progress.checked = "" if until >= mark.message_id else until
    return late + older


_AFTER_ALL_IDS = "~"


def indexed(tx: ports.ReadTx) -> bool:
    """Return whether all messages are indexed, except those that were committed late."""
    return not tx.not_indexed(after=tx.index_mark().message_id, until=_AFTER_ALL_IDS, limit=1)


def contents(tx: ports.ReadTx, found: Sequence[Message]) -> list[bytes]:
    """Return the beginning of the bytes of each message; empty bytes if the store no longer has them."""
    return [tx.octets(message.id, start=0, limit=RAW_LIMIT) for message in found]


async def entries(
    reader: ports.MailText, found: Sequence[Message], raws: Sequence[bytes], recipients: Sequence[tuple[str, str, str]]
) -> list[ports.MailEntry]:
    """Return the entries of messages for the index. `recipients` is the result of `recipients_in`."""
    by_message: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for message_id, account, texts in recipients:
        by_message[message_id][account].append(texts)
    made = []
    for message, raw in zip(found, raws, strict=True):
        authors, addressed = address_fields.read(raw[: messages.end_of_header(raw)])
        body = _joined(await _text(reader, raw))
        for account, given in (by_message[message.id] or {"": []}).items():
            made.append(
                ports.MailEntry(
                    message_id=message.id,
                    account=account,
                    received_at=message.received_at,
                    sender=_joined(f"{message.envelope.sender} {authors}"),
                    recipients=_joined(" ".join([*given, addressed])[:RECIPIENTS_LIMIT]),
                    subject=_joined(message.subject),
                    body=body,
                )
            )
    return made


async def _text(reader: ports.MailText, raw: bytes) -> str:
    """Return the text of a message; empty if the store no longer has its bytes, or if they cannot be read. One message
    that cannot be read must not keep others out of the index.
    """
    try:
        return await reader.text_of(raw) if raw else ""
    except Exception:  # noqa: BLE001 - see the docstring
        return ""


def _joined(text: str) -> str:
    return " ".join(words(beginning(text)))


def parts(made: Sequence[ports.MailEntry]) -> list[list[ports.MailEntry]]:
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


async def run_round(store: ports.Store, reader: ports.MailText, progress: Progress, clock: ports.Clock) -> Round:
    """Index the messages that are not indexed yet, at most `AT_ONCE` of each kind, and return them."""

    def read(tx: ports.ReadTx) -> tuple[Round, list[bytes], list[tuple[str, str, str]]]:
        found = look(tx, progress, clock)
        return found, contents(tx, found.found), tx.recipients_in([message.id for message in found.found])

    found, raws, recipients = await store.long_read(read, what="the mail that is not indexed")
    if found.found:
        for part in parts(await entries(reader, found.found, raws, recipients)):
            await store.write(partial(_add, entries=part))
        if found.is_moved:
            await store.write(lambda tx: tx.put_index_mark(found.mark))
    return found
