"""The exceptions that report a failure of the store itself, for the API, the mail server and the workers."""

from waypost.app.ports import StoreUnavailable
from waypost.domain.errors import Busy

STORE_FAILURES: tuple[type[Exception], ...] = (StoreUnavailable, Busy)
"""The exceptions that report a temporary failure. If the transaction is repeated later, it may succeed.

`Busy` means that another transaction locked the same rows for too long. Code that does not report conflicts to a client
treats `Busy` as a failure of the store.
"""
