"""The exception classes for all refusals. The classes form a small, closed hierarchy.

    WaypostError                a refusal, with a message that may be shown to the caller
    ├── Invalid                 a value breaks a rule; the error message names the value
    ├── NotFound                a resource does not exist, or the caller may not see it
    ├── Conflict                the request conflicts with the current state
    ├── Busy                    another request holds a lock that this request needs; the caller can retry
    ├── Duplicate               a resource with this name already exists
    ├── TokenReused             a client token was sent again with different parameters
    ├── QuotaExceeded           the quota for this type of resource is used up
    ├── UnknownRecipient        the mail is for an address that does not exist
    ├── RecipientsChanged       a recipient was deleted between RCPT and the end of DATA; the sender can retry
    └── MailLoop                the message has passed through too many hops, or through the same alias before

Each protocol has one table that maps these classes to its own codes: `api/errors.py` and `smtp/backend/errors.py`. Any
other exception is an internal error, whose text is never shown to a client.
"""


class WaypostError(Exception):
    """A refusal. `message` is written for people to read, and contains no secrets."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(WaypostError):
    """A value breaks one of Waypost's rules. The error message names the value and the rule."""


class NotFound(WaypostError):
    """The named resource does not exist, or belongs to another account, region or instance."""


class Conflict(WaypostError):
    """The request conflicts with an existing resource. The error message names the resource."""


class Busy(WaypostError):
    """Another request held a lock that this request needed, and did not release it in time. Nothing was changed."""


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
