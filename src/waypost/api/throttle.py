"""How often an operation may be called."""

from datetime import datetime

from waypost.api.errors import ApiError
from waypost.app.buckets import Buckets
from waypost.domain import limits
from waypost.domain.instances import Tenant


class Throttle:
    """Admits calls of each operation at a rate, for each account and region; instances and users share it."""

    def __init__(self, rate: limits.Rate) -> None:
        self._buckets = Buckets(rate)

    def admit(self, tenant: Tenant, operation: str, now: datetime) -> None:
        """Count a call. Raises `ApiError` ThrottlingException if there were too many."""
        if not self._buckets.take((tenant, operation), now).admitted:
            raise ApiError("ThrottlingException", 429, "Rate exceeded")
