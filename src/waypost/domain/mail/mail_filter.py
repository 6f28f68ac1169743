"""The filter of a list of deliveries."""

from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

from waypost.domain.directory.addresses import Address
from waypost.domain.mail.delivery import Reason, Status


class Filtered(Protocol):
    """What a filter compares of a delivery."""

    @property
    def address(self) -> Address:
        """The email address that the delivery is for."""
        ...

    @property
    def reason(self) -> Reason:
        """The reason for the delivery."""
        ...

    @property
    def status(self) -> Status:
        """The status of the delivery."""
        ...


class MailFilter(Struct, frozen=True, kw_only=True):
    """The conditions that each delivery in a list must meet."""

    reason: Reason | None = None
    status: Literal[Status.QUEUED, Status.DEAD] | None = None
    address_key: str = ""
    """The key of the email address that the delivery is for; empty for all email addresses."""
    since: datetime | None = None
    """The earliest time at which the message was accepted; None for no limit."""
    before: datetime | None = None
    """The time before which the message was accepted; None for no limit."""

    def is_met(self, delivery: Filtered, received_at: datetime) -> bool:
        """Return whether a delivery meets the filter. `received_at` is when its message was accepted."""
        return (
            self.reason in (None, delivery.reason)
            and self.status in (None, delivery.status)
            and self.address_key in ("", delivery.address.key)
            and (self.since is None or received_at >= self.since)
            and (self.before is None or received_at < self.before)
        )


ALL_MAIL = MailFilter()
"""The filter that every delivery meets."""
