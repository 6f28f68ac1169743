"""The global condition keys of a call, with values for the caller, its IP address and the time.

Source: "AWS global condition context keys" in the IAM User Guide. The table in this module also contains keys that AWS
always sets and that have the same value for every call. If the table lacked a key that AWS always sets, a Deny
statement that tests this key would never apply.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct

from waypost.domain import moments
from waypost.domain.directory.instances import Tenant
from waypost.domain.iam.access_keys import AccessKey


class Circumstances(Struct, frozen=True, kw_only=True):
    """The data of one call from which the global condition keys get their values. An empty string stands for an unknown
    value.
    """

    key: AccessKey
    tenant: Tenant
    ip: str
    is_secure: bool
    """Whether the call came over TLS."""
    user_agent: str
    now: datetime

    def look_up(self, key: str) -> tuple[str, ...] | None:
        """Return the value of a global condition key. `key` is the name of the key in lower case.

        Returns None if the key has no value in this call, or is not a global key.
        """
        fact = _FACTS.get(key)
        value = fact(self) if fact else ""
        return (value,) if value else None

    @property
    def user_arn(self) -> str:
        """The ARN of the IAM user that owns the access key."""
        who = "root" if self.key.user_name == "root" else f"user/{self.key.user_name}"
        return f"arn:{self.tenant.partition}:iam::{self.key.account}:{who}"


_FACTS: Mapping[str, Callable[[Circumstances], str]] = {
    "aws:currenttime": lambda call: moments.iso8601(call.now),
    "aws:epochtime": lambda call: str(int(call.now.timestamp())),
    "aws:principalaccount": lambda call: call.key.account,
    "aws:multifactorauthpresent": lambda call: "false" if call.key.expires_at else "",  # only set for temporary keys
    "aws:principalarn": lambda call: call.user_arn,
    "aws:principalisawsservice": lambda _: "false",
    "aws:principaltype": lambda call: "Account" if call.key.user_name == "root" else "User",
    "aws:requestedregion": lambda call: call.tenant.region,
    "aws:resourceaccount": lambda call: call.tenant.account,  # callers see only resources of their own account
    "aws:securetransport": lambda call: "true" if call.is_secure else "false",
    "aws:sourceip": lambda call: call.ip,
    "aws:tokenissuetime": lambda call: moments.iso8601(call.key.created_at) if call.key.expires_at else "",
    "aws:useragent": lambda call: call.user_agent,
    "aws:username": lambda call: call.key.user_name,
    "aws:viaawsservice": lambda _: "false",
}
