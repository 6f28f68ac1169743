"""The rate limits for API calls."""

from datetime import datetime

from waypost.api.errors import ApiError
from waypost.app import ports
from waypost.app.rate_limits import Buckets
from waypost.domain.directory.instances import Tenant
from waypost.domain.limits.rates import Limits


class Throttle:
    """Limits the rate of API calls. All instances and users of an account share the account's rate limits."""

    def __init__(self, limits: Limits, state: ports.LimitState) -> None:
        self._times = state.times("API calls")
        self.use(limits)

    def use(self, limits: Limits) -> None:
        """Use these limits from now on."""
        self._buckets = Buckets(limits.rate, self._times)
        self._is_of_account = limits.is_of_account

    def admit(self, tenant: Tenant, operation: str, now: datetime) -> None:
        """Count a call against the rate limit. Raises an `ApiError` with the code ThrottlingException if the limit is
        exceeded.
        """
        key = tenant.account if self._is_of_account else (tenant, operation)
        if not self._buckets.take(key, now).admitted:
            raise ApiError("ThrottlingException", 429, "Rate exceeded")
