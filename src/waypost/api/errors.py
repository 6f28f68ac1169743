"""The mapping from domain errors to AWS error responses, and the responses for internal errors.

The service model defines which exceptions each operation may return. Therefore, each domain error has a list of error
codes in order of preference, and the response has the first code that the model permits for the operation.
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
"""The error message for every internal error. The log entry with the request id contains the details."""

UNAVAILABLE_MESSAGE = "The service is temporarily unable to handle the request."


class ApiError(Exception):
    """An error response with the AWS error code, the HTTP status, and a message for the caller."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.status = status
        self.message = message


def translate(error: errors.WaypostError, permitted: Mapping[str, int]) -> ApiError:
    """Return the error response for a domain error.

    `permitted` contains the error codes that the service model permits for the operation, each with its HTTP status.
    Raises `LookupError` if the model permits no code for this error.
    """
    for code in _CODES[type(error)]:
        if code in permitted:
            return ApiError(code, permitted[code], error.message)
    if isinstance(error, errors.Busy):  # SDKs retry a call that gets this status
        return ApiError("ServiceUnavailable", 503, error.message)
    raise LookupError(f"no permitted code for {type(error).__name__} among {sorted(permitted)}")


def internal() -> ApiError:
    """Return the error response for an internal error. The response does not reveal the cause."""
    return ApiError("InternalServiceException", 500, INTERNAL_MESSAGE)


def unavailable(error: Exception) -> ApiError:
    """Return the error response for a call that failed because the store is unreachable or too slow. SDKs retry a call
    after status 503.
    """
    cause = f" {error}" if isinstance(error, TookTooLong) else ""  # for other failures, the cause is only logged
    return ApiError("ServiceUnavailable", 503, UNAVAILABLE_MESSAGE + cause)
