"""The exceptions that report a failure of the store itself. The API, the mail server and the workers catch them."""

from waypost.app.ports import StoreUnavailable
from waypost.domain.errors import Busy

STORE_FAILURES: tuple[type[Exception], ...] = (StoreUnavailable, Busy)
"""The exceptions after which the same transaction may succeed later. The request and the program are correct.

`Busy` means that another transaction locked the same rows for too long. It is a store failure for code that does not
report conflicts to a caller.
"""
