"""The filter of a list of deliveries."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from waypost.domain.mail.delivery import Reason, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class MailFilter:
    """The conditions that each delivery in a list must meet."""

    reason: Reason | None = None
    status: Literal[Status.QUEUED, Status.DEAD] | None = None
    address_key: str = ""
    """The key of the email address that the delivery is for; empty for all email addresses."""
    since: datetime | None = None
    """The earliest time at which the message was accepted; None for no limit."""
    before: datetime | None = None
    """The time before which the message was accepted; None for no limit."""


ALL_MAIL = MailFilter()
"""The filter that every delivery meets."""
