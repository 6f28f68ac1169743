"""The time, and who sent a message: what the use cases ask of the world but for the store."""

from collections.abc import AsyncIterable, Callable
from datetime import datetime
from typing import Protocol

from waypost.domain.mailauth.enforcement import Findings
from waypost.domain.mailauth.verdicts import Claim

Clock = Callable[[], datetime]
"""The present moment, in UTC, to the millisecond."""


class Authenticator(Protocol):
    """Finds out whether mail comes from whom it says (SPF, DKIM, DMARC)."""

    async def check(self, claim: Claim, octets: AsyncIterable[bytes], size: int) -> Findings:
        """What is found of a message of `size` octets, or why nothing is. Never raises, and ends soon."""
        ...
