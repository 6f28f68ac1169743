"""Generates message ids."""

import io
import os
from datetime import datetime

from waypost.domain.mail import messages

RANDOM_OCTETS = 8
"""The number of random bytes in a message id."""


class Ids:
    """Generates message ids.

    A new id always sorts after all earlier ids, even those from the same millisecond, and even if the clock has been
    set back.
    """

    def __init__(self) -> None:
        self._newest_at: datetime | None = None
        self._at_once = 0
        self._random = io.BytesIO()

    def forget(self) -> None:
        """Forget the earlier ids, because their messages do not exist any more. The next id may sort before them."""
        self._newest_at = None

    def new(self, now: datetime) -> str:
        """Return the next message id."""
        now = max(now, self._newest_at or now)
        self._at_once = self._at_once + 1 if now == self._newest_at else 0
        self._newest_at = now
        random = self._random.read(RANDOM_OCTETS)
        if not random:  # a system call for each id would take longer than the rest of the work
            self._random = io.BytesIO(os.urandom(RANDOM_OCTETS * 256))
            random = self._random.read(RANDOM_OCTETS)
        return messages.new_id(now, self._at_once, random)
