"""The exception classes for all refusals, which form a small, closed hierarchy.

    WaypostError                a refusal, with a message that may be shown to the caller
    ├── Invalid                 a value breaks a rule; the message names the value
    ├── NotFound                a resource does not exist, or the caller may not see it
    ├── Conflict                the request contradicts the current state
    ├── Busy                    another request is changing the same resource; the caller can retry
    ├── Duplicate               a resource with this name already exists
    ├── TokenReused             a client token was sent again with different parameters
    ├── QuotaExceeded           the quota of such resources is used up
    ├── UnknownRecipient        mail for an address that does not exist
    ├── RecipientsChanged       a recipient was deleted between RCPT and the end of DATA; the sender can retry
    └── MailLoop                a message that has passed this server too often

Each protocol has one table that maps these classes to its own codes: `api/errors.py` and `smtp/backend/errors.py`. Any
other exception is an internal error, whose text is never shown to a client.
"""


class WaypostError(Exception):
    """A refusal. The `message` of a refusal is written for a person, and contains no secrets."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(WaypostError):
    """A value breaks one of Waypost's rules. The error message names the value and the rule."""


class NotFound(WaypostError):
    """The named resource does not exist, or belongs to another account, region or instance."""


class Conflict(WaypostError):
    """The request conflicts with an existing resource, which the message names."""


class Busy(WaypostError):
    """Another request holds a lock that this request needs, and did not release it in time. Nothing was changed."""


class Duplicate(WaypostError):
    """A resource with this name already exists."""


class TokenReused(WaypostError):
    """A client token was used before, with different parameters."""


class QuotaExceeded(WaypostError):
    """The quota for this type of resource has been reached. The error message names the quota."""


class UnknownRecipient(WaypostError):
    """No email address in this deployment matches the recipient."""


class RecipientsChanged(WaypostError):
    """A recipient that was accepted at RCPT no longer exists at the end of DATA. The sender should try again."""


class MailLoop(WaypostError):
    """The message has passed through too many hops, or has already passed through this alias."""
