"""Lists of all mail of an account, and of all its refusals."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from waypost.app.ports.refusals import Refusal
from waypost.domain.directory.addresses import Address
from waypost.domain.mail.delivery import Delivery, Reason, Status
from waypost.domain.mail.mail_filter import MailFilter
from waypost.domain.mail.messages import Message

Place = tuple[str, str]
"""The place of a delivery in the list of all mail: the id of its message, and the id of its email address."""


class ListedDelivery(Struct, frozen=True):
    """What a list shows of a delivery."""

    address: Address
    via: str | None
    reason: Reason
    status: Status


class ListedMessage(Struct, frozen=True):
    """What a list shows of a message with its deliveries to one account. To read it takes a tenth of the time of whole
    messages and deliveries.
    """

    id: str
    sender: str
    subject: str
    received_at: datetime
    deliveries: Sequence[ListedDelivery]


class ReadMailbox(Protocol):
    """Methods that list the mail of an account."""

    def mailbox(
        self, account: str, filters: MailFilter, *, after: Place | None, oldest_id: str, limit: int
    ) -> list[Place]:
        """Return the places of up to `limit` deliveries of an account that meet the filter, newest first. The
        deliveries that are not in an inbox are included. The method does not compare `filters.since`.

        `after` is the cursor: the place of the last delivery on the previous page. If its email address id is empty,
        the page begins after the last delivery of that message. Messages with ids less than `oldest_id` are left out.
        """
        ...

    def deliveries_in(self, places: Sequence[Place]) -> list[tuple[Delivery, Message]]:
        """Return the deliveries at some places, each with its message, newest first."""
        ...

    def listed_in(self, places: Sequence[Place]) -> list[ListedMessage]:
        """Return what a list shows of the deliveries at some places, newest first."""
        ...

    def listed(self, account: str, message_ids: Sequence[str], *, limit: int) -> list[ListedMessage] | None:
        """Return what a list shows of those messages that have a delivery to an account, newest first; None if they
        have more than `limit` deliveries.
        """
        ...

    def accepted_since(self, since: datetime, *, first: str, last: str, limit: int) -> list[str]:
        """Return up to `limit` ids of messages of all accounts that were accepted at or after a time, newest first. The
        ids are in the range from `first` up to, but without, `last`.
        """
        ...

    def refusals_in(
        self, account: str, *, with_unowned: bool, since: datetime, after: tuple[datetime, int] | None, limit: int
    ) -> list[tuple[int, Refusal]]:
        """Return up to `limit` refusals at or after the time `since`, with their numbers, newest first. The refusals
        happened while the account owned the recipient's address or, if `with_unowned` is true, while no account owned
        it.

        `after` is the time and the number of the last refusal on the previous page.
        """
        ...
