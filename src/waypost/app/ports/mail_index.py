"""The text index, by which mail is searched."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.mail_filter import MailFilter
from waypost.domain.mail.mail_search import Phrase
from waypost.domain.mail.messages import Message


class MailText(Protocol):
    """Reads the text of messages."""

    async def text_of(self, raw: bytes) -> str:
        """Return the readable text of a message, for a search. `raw` may be only the beginning of the message."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MailEntry:
    """What the index has of a message for one account: words, separated by spaces."""

    message_id: str
    account: str
    """The account; empty if the message has no delivery, so that it is not looked at again."""
    received_at: datetime
    sender: str
    recipients: str
    """The words of the recipients that the account may see."""
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class IndexMark:
    """How far the index is."""

    message_id: str
    """The index has the messages with ids up to this one, except those that were committed late."""
    received_at: datetime | None
    """When this message was accepted; None if nothing is indexed."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that a search has found, with the first of its deliveries that meets the filter."""

    number: int
    """The place of the message in the index. The numbers sort by the time at which messages were accepted."""
    delivery: Delivery
    message: Message


class ReadMailIndex(Protocol):
    """Methods that search mail, and find what is not indexed yet."""

    def search_mail(
        self, account: str, phrases: Sequence[Phrase], filters: MailFilter, *, after: int | None, limit: int
    ) -> list[Hit]:
        """Return up to `limit` indexed messages of an account in which all phrases occur and that have a delivery that
        meets the filter, newest first. `after` is the number of the last hit on the previous page.
        """
        ...

    def index_mark(self) -> IndexMark:
        """Return how far the index is."""
        ...

    def not_indexed(self, *, after: str, until: str, limit: int) -> list[Message]:
        """Return up to `limit` messages of all accounts that are not indexed, ordered by id, with ids greater than
        `after` and at most `until`. Messages with planned deliveries are left out.
        """
        ...

    def id_beyond(self, after: str, *, count: int) -> str:
        """Return the id of the message that is `count` messages after the id `after`; empty if there are fewer."""
        ...

    def recipients_in(self, message_ids: Sequence[str]) -> list[tuple[str, str, str]]:
        """Return the message id, the account and the recipients of each delivery of these messages. The recipients are
        the address, the recipient as the sender wrote it, and the alias, separated by spaces.
        """
        ...


class WriteMailIndex(Protocol):
    """Methods that change the index."""

    def add_to_index(self, entries: Sequence[MailEntry]) -> None:
        """Add entries to the index. Entries that the index already has, and entries of messages that were deleted
        meanwhile, are left out.
        """
        ...

    def put_index_mark(self, mark: IndexMark) -> None:
        """Record how far the index is."""
        ...
