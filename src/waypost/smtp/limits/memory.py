"""A budget for the memory that all SMTP clients together use for unparsed input and for messages that are not yet on
disk.
"""


class Memory:
    """Counts the bytes of memory that clients use. It never blocks.

    When memory is scarce, messages are written to disk earlier than usual. When all of the memory is used, new messages
    are refused.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """The size of the budget, in bytes."""
        self.used = 0
        """The number of bytes in use."""
        self.change(0)

    def change(self, octets: int) -> None:
        """Add this number of bytes to the memory in use. A negative number subtracts."""
        self.used += octets
        self.is_scarce = self.used * 2 >= self.limit
        """Whether at least half of the memory is in use. If so, messages should be written to disk as they arrive."""
        self.is_full = self.used >= self.limit
        """Whether all of the memory is in use. If so, no new message should begin."""
