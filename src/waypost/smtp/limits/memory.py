"""One budget for the server's memory that clients use: input that waits, and messages on their way to the disk."""


class Memory:
    """Counts octets. It never blocks: when memory is scarce, messages go to disk sooner; when it is used up, they are
    refused.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    @property
    def used(self) -> int:
        """Octets that are in use."""
        return self._used

    @property
    def is_scarce(self) -> bool:
        """Whether half of it is in use, so that messages should go to disk as they come."""
        return self._used * 2 >= self._limit

    @property
    def is_full(self) -> bool:
        """Whether all of it is in use, so that no message should begin."""
        return self._used >= self._limit

    def change(self, octets: int) -> None:
        """Add to the octets in use, or subtract."""
        self._used += octets
