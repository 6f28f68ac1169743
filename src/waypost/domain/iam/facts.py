"""What a policy may ask about any call, whoever answers it: who, from where, and when.

Source: "AWS global condition context keys" in the IAM User Guide.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from waypost.domain import moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """The circumstances of one call. A text that is empty is not known."""

    account: str
    user_name: str
    user_arn: str
    region: str
    ip: str
    is_secure: bool
    """Whether it came over TLS."""
    user_agent: str
    now: datetime

    def value(self, key: str) -> str | None:
        """The value of a global condition key, in small letters; None for one that has none, or is not global."""
        fact = _FACTS.get(key)
        return (fact(self) or None) if fact else None


_FACTS: Mapping[str, Callable[[Circumstances], str]] = {
    "aws:currenttime": lambda call: moments.iso8601(call.now),
    "aws:epochtime": lambda call: str(int(call.now.timestamp())),
    "aws:principalaccount": lambda call: call.account,
    "aws:principalarn": lambda call: call.user_arn,
    "aws:principaltype": lambda call: "Account" if call.user_name == "root" else "User",
    "aws:requestedregion": lambda call: call.region,
    "aws:securetransport": lambda call: "true" if call.is_secure else "false",
    "aws:sourceip": lambda call: call.ip,
    "aws:useragent": lambda call: call.user_agent,
    "aws:username": lambda call: call.user_name,
}
