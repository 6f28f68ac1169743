"""The exceptions by which the API, the mail server and the workers recognise a failure of the store itself."""

from waypost.app.ports import StoreUnavailable
from waypost.domain.errors import Busy

STORE_FAILURES: tuple[type[Exception], ...] = (StoreUnavailable, Busy)
"""The exceptions that report a temporary failure. A transaction that failed with one of these exceptions may succeed if
it is repeated later.

`Busy` means that another transaction locked the same rows for too long. Code that does not report conflicts to a client
treats `Busy` as a failure of the store.
"""
