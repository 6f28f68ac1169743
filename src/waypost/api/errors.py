"""Domain errors as AWS errors, in one table, and the one boundary for everything else.

An operation may only answer the exceptions that its model permits, so each domain error has a list of codes
in order of preference, and the first that is permitted is used.
"""

from collections.abc import Mapping

from waypost.app.ports import TookTooLong
from waypost.domain import errors

_CODES: Mapping[type[errors.WaypostError], tuple[str, ...]] = {
    errors.Invalid: ("InvalidParameterException", "InvalidRequestException"),
    errors.NotFound: ("ResourceNotFoundException", "InvalidRequestException"),
    errors.Conflict: ("ResourceConflictException", "InvalidRequestException"),
    errors.Busy: ("ResourceConflictException",),
    errors.Duplicate: ("DuplicateResourceException", "InvalidRequestException"),
    errors.QuotaExceeded: ("ServiceQuotaExceededException", "InvalidRequestException"),
    errors.TokenReused: ("IdempotencyException", "ResourceConflictException", "InvalidRequestException"),
}

INTERNAL_MESSAGE = "Request processing failed because of an error or failure with the service."
"""All that a caller learns of a failure of ours; the rest is in our log, under the request id."""

UNAVAILABLE_MESSAGE = "The service is temporarily unable to handle the request."


class ApiError(Exception):
    """An error answer: AWS's code, the HTTP status, and a message that may be shown."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.status = status
        self.message = message


def translate(error: errors.WaypostError, permitted: Mapping[str, int]) -> ApiError:
    """The answer for a domain error, out of what the operation's model permits (code -> HTTP status)."""
    for code in _CODES[type(error)]:
        if code in permitted:
            return ApiError(code, permitted[code], error.message)
    if isinstance(error, errors.Busy):  # it is worth a retry, and SDKs make one on this status
        return ApiError("ServiceUnavailable", 503, error.message)
    raise LookupError(f"no permitted code for {type(error).__name__} among {sorted(permitted)}")


def internal() -> ApiError:
    """The answer for a failure of ours. It says nothing of the cause."""
    return ApiError("InternalServiceException", 500, INTERNAL_MESSAGE)


def unavailable(error: Exception) -> ApiError:
    """The answer while the store cannot be reached, or reads too slowly. SDKs try again on this status."""
    cause = f" {error}" if isinstance(error, TookTooLong) else ""  # the cause of other failures is only logged
    return ApiError("ServiceUnavailable", 503, UNAVAILABLE_MESSAGE + cause)
