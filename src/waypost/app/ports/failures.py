"""The errors with which the store reports its own failures, for the edges."""

from waypost.app.ports import StoreUnavailable
from waypost.domain.errors import Busy

STORE_FAILURES: tuple[type[Exception], ...] = (StoreUnavailable, Busy)
"""Nothing is wrong with the request or with the program: the same transaction may succeed later.

`Busy` (another transaction held the same rows for too long) is one of them wherever no caller is told of a conflict.
"""
