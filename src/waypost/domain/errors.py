"""Every reason for a refusal, as one small closed tree of errors.

    WaypostError                a refusal with a sentence that may be shown to the caller
    ├── Invalid                 a value breaks a rule; names the value
    ├── NotFound                a resource does not exist (or is not the caller's to see)
    ├── Conflict                the request contradicts what is there
    ├── Busy                    somebody else changes the same thing just now; worth a retry
    ├── Duplicate               something with this name exists already
    ├── TokenReused             a client token came back with other parameters
    ├── QuotaExceeded           there are as many of these as there may be
    ├── UnknownRecipient        mail for an address that does not exist
    ├── RecipientsChanged       a recipient vanished between RCPT and the end of DATA; worth a retry
    └── MailLoop                a message that has been here too often

Each edge (`api/errors.py`, `smtp/errors.py`) has one table from these classes to its own codes. Any other exception is
an internal error, and no edge shows its text to a client.
"""


class WaypostError(Exception):
    """A refusal. `message` is written for the person who reads it, and holds nothing secret."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(WaypostError):
    """A value breaks a rule of ours. The message names the value and the rule."""


class NotFound(WaypostError):
    """The named resource does not exist, or belongs to another account, region or instance."""


class Conflict(WaypostError):
    """The request cannot be carried out because of what exists now. The message says what."""


class Busy(WaypostError):
    """What the request needs is held by another one, and was not free in time. Nothing was done."""


class Duplicate(WaypostError):
    """A resource with this name exists already."""


class TokenReused(WaypostError):
    """A client token was used before, with other parameters."""


class QuotaExceeded(WaypostError):
    """The quota of resources of this kind is reached. The message names the quota."""


class UnknownRecipient(WaypostError):
    """No email address here is the recipient's."""


class RecipientsChanged(WaypostError):
    """A recipient that was accepted at RCPT is gone at the end of DATA. The sender should try again."""


class MailLoop(WaypostError):
    """The message has passed too many hops, or has passed through this very alias before."""
