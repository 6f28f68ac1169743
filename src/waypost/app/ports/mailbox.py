"""Lists of all mail of an account, and of all its refusals."""

from datetime import datetime
from typing import Protocol

from waypost.app.ports.refusals import Refusal
from waypost.domain.mail.delivery import Delivery
from waypost.domain.mail.mail_filter import MailFilter
from waypost.domain.mail.messages import Message


class ReadMailbox(Protocol):
    """Methods that list the mail of an account."""

    def mailbox(
        self, account: str, filters: MailFilter, *, after: tuple[str, str] | None, oldest_id: str, limit: int
    ) -> list[tuple[Delivery, Message]]:
        """Return up to `limit` deliveries of an account that meet the filter, each with its message, newest first. The
        deliveries that are not in an inbox are included. The method does not compare `filters.since`.

        `after` is the cursor: the message id and the email address id of the last delivery on the previous page. If the
        email address id is empty, the page begins after the last delivery of that message. Messages with ids less than
        `oldest_id` are left out.
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
