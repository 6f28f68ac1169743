"""The parser for request bodies. A body must be JSON in UTF-8, must not begin with a byte order mark, and must not be
nested too deeply.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec

from waypost.api.errors import ApiError

DEPTH_LIMIT = 100
"""The maximum nesting depth of arrays and objects in a body.

The limit is higher than the depth of any valid request, and low enough for Python's stack.
"""


def members(body: bytes) -> dict[str, Any]:
    """Parse a body as a JSON object, and return its members. An empty body has no members."""
    if not body:
        return {}
    found = value(body)
    if not isinstance(found, dict):
        raise invalid_request("The request body must be a JSON object.")
    return found


def text(body: bytes) -> str:
    """Decode a body as plain text in UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise invalid_request("The request body is not valid UTF-8.") from error


def value(body: bytes) -> Any:
    """Parse a body as JSON. If an object contains the same member more than once, the last value is used."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid_request(f"The request body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise _too_deep() from error
    # Each level needs at least two bytes, so a shorter body cannot be nested too deeply.
    if len(body) > 2 * DEPTH_LIMIT and _is_too_deep(found):
        raise _too_deep()
    return found


def invalid_request(message: str) -> ApiError:
    """Return the error for a request that cannot be parsed. Every operation may return this error."""
    return ApiError("InvalidRequestException", 400, message)


def _too_deep() -> ApiError:
    return invalid_request(f"The request body has more than {DEPTH_LIMIT} levels of nested arrays and objects.")


def _is_too_deep(value: Any) -> bool:
    # This loop examines one level after the other, because recursion could overflow the stack.
    level = _containers([value])
    for _ in range(DEPTH_LIMIT):
        if not level:
            return False
        parts = itertools.chain.from_iterable(part.values() if isinstance(part, dict) else part for part in level)
        level = _containers(parts)
    return bool(level)


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, (dict, list))]
