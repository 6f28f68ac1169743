"""Calls of the Amazon Connect API, which the console makes as the person's access key, inside the server.

The server passes the function that runs them. So a form of the console goes through the same checks as a request to the
API: the sizes and patterns of its members, the policy of the key for every resource that it names, quotas, and rules. A
refusal has the API's code and message.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from waypost.domain.iam.access_keys import AccessKey


class Call(Struct, frozen=True):
    """A call: the name of the operation, such as `CreateEmailAddress`, and the region of the instance."""

    operation: str
    region: str
    members: Mapping[str, Any]
    """The members of the operation's input, as JSON values by the names in AWS's model."""


class Caller(Struct, frozen=True):
    """The person who makes a call, for the policy of the access key."""

    key: AccessKey
    ip: str
    is_secure: bool
    """Whether the request of the browser came over TLS."""
    user_agent: str


class Perform(Protocol):
    """Runs calls."""

    async def __call__(self, call: Call, caller: Caller) -> Mapping[str, Any]:
        """Run a call, and return the members of its output. Members without a value may be None.

        Raises `Refused`, or an exception of the store.
        """
        ...


class Refused(Exception):
    """The API refuses a call."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.status = status
        self.message = message
