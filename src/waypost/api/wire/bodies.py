"""The body of a request: UTF-8 without a byte order mark, nothing but JSON, and not too deep."""

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec

from waypost.api.errors import ApiError

DEPTH_LIMIT = 100
"""How deeply arrays and objects may be nested in a body: more than any request needs, less than Python's stack
allows."""


def members(body: bytes) -> dict[str, Any]:
    """The members of a JSON object; an empty body is an object without members."""
    if not body:
        return {}
    found = value(body)
    if not isinstance(found, dict):
        raise invalid_request("The request body must be a JSON object.")
    return found


def text(body: bytes) -> str:
    """The body as it is."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise invalid_request("The request body is no valid UTF-8.") from error


def value(body: bytes) -> Any:
    """The body as JSON. If a member occurs twice, the last one counts."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid_request(f"The request body is no valid JSON: {error}.") from error
    except RecursionError as error:
        raise _too_deep() from error
    # What is so deep is at least that long.
    if len(body) > 2 * DEPTH_LIMIT and _is_too_deep(found):
        raise _too_deep()
    return found


def invalid_request(message: str) -> ApiError:
    """The error for a request that cannot be parsed, which every operation has."""
    return ApiError("InvalidRequestException", 400, message)


def _too_deep() -> ApiError:
    return invalid_request(f"The request body has more than {DEPTH_LIMIT} arrays and objects inside each other.")


def _is_too_deep(value: Any) -> bool:
    # Level by level, and not by recursion, which is what must not happen.
    level = _containers([value])
    for _ in range(DEPTH_LIMIT):
        if not level:
            return False
        parts = itertools.chain.from_iterable(part.values() if isinstance(part, dict) else part for part in level)
        level = _containers(parts)
    return bool(level)


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, (dict, list))]
