"""The ports other than the store: the time, and the sender checks."""

from collections.abc import AsyncIterable, Callable
from datetime import datetime
from typing import Protocol

from waypost.domain.mailauth.enforcement import Findings
from waypost.domain.mailauth.verdicts import Claim

Clock = Callable[[], datetime]
"""The present moment, in UTC, to the millisecond."""


class Authenticator(Protocol):
    """Authenticates the sender of mail (SPF, DKIM, DMARC)."""

    async def check(self, claim: Claim, octets: AsyncIterable[bytes], size: int) -> Findings:
        """The results for a message of `size` octets, or the reason why there are none. Never raises, and ends within
        its time limit.
        """
        ...
