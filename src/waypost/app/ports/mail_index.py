"""The text index, by which mail is searched."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.mail_filter import MailFilter
from waypost.domain.mail.mail_search import Phrase
from waypost.domain.mail.messages import Message


class MailEntry(Struct, frozen=True, kw_only=True):
    """What the index has of a message for one account: words, separated by spaces."""

    number: int
    """The place of the message in the index."""
    account: str
    sender: str
    recipients: str
    """The words of the recipients that the account may see."""
    subject: str
    body: str


class NotIndexed(Struct, frozen=True):
    """A message that was noted for an account, and whose words are not in the index."""

    number: int
    account: str
    message: Message


class Hit(Struct, frozen=True):
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

    def not_indexed(self, *, limit: int) -> list[NotIndexed]:
        """Return up to `limit` noted messages whose words are not in the index, newest first."""
        ...

    def oldest_not_indexed(self) -> datetime | None:
        """Return when the oldest noted message was accepted whose words are not in the index; None if there is none."""
        ...


class WriteMailIndex(Protocol):
    """Methods that change the index."""

    def add_to_index(self, entries: Sequence[MailEntry]) -> None:
        """Add words to the index. Entries that the index already has, and entries of mail that was deleted meanwhile,
        are left out.
        """
        ...

    def remove_from_index(self, message_ids: Sequence[str]) -> None:
        """Remove the entries of those messages that an account has no delivery of any more."""
        ...


class MailText(Protocol):
    """Reads the text of messages, for the text index."""

    async def text_of(self, raw: bytes) -> str:
        """Return the readable text of a message. `raw` may be only the beginning of the message.

        Raises `OSError` if no message can be read now, and another exception if this message cannot be read.
        """
        ...
