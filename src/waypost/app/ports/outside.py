"""The interfaces that the use cases need besides the store: the clock and the sender checks."""

from collections.abc import AsyncIterable, Callable
from datetime import datetime
from typing import Protocol

from waypost.domain.mailauth.enforcement import Findings
from waypost.domain.mailauth.verdicts import Claim

Clock = Callable[[], datetime]
"""A function that returns the current time in UTC, to the millisecond."""


class Authenticator(Protocol):
    """Authenticates the sender of a message with SPF, DKIM and DMARC."""

    async def check(self, claim: Claim, octets: AsyncIterable[bytes], size: int) -> Findings:
        """Return the SPF, DKIM and DMARC results for a message of `size` bytes, or the reason why there are no results.

        This method never raises an exception, and returns within its time limit.
        """
        ...
