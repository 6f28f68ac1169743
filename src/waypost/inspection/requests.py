"""Parses requests. A wrong member is refused with its name, and what it must be."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from waypost.domain import durations, errors
from waypost.domain.directory import addresses
from waypost.domain.mail import messages

PAGE_SIZE = 50
MAX_PAGE_SIZE = 500

BODY_LIMIT = 64 * 1024
"""Octets of a JSON body."""

LONGEST_STEP = timedelta(days=3650)
"""The most days by which a clock can be advanced at once."""

_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MESSAGE_OR_DELIVERY = re.compile(rf"{_ID}(\.{_ID})?")
_BARE_LINE_END = re.compile(rb"(?<!\r)\n")


def text(values: Mapping[str, Any], name: str) -> str | None:
    """A member that is text; None if it is missing."""
    found: str | None = values.get(name)
    if found is not None and not _is_text(found):
        raise errors.Invalid(f"{name} must be a string of printable characters, and not empty.")
    return found


def sender(values: Mapping[str, Any]) -> str | None:
    """The `from` of mail: empty, or as `<>`, for the null sender; None if it is not there."""
    if values.get("from") in {"", "<>"}:
        return ""
    found = text(values, "from")
    if found is None:
        return None
    try:
        return addresses.parse(found).text
    except errors.Invalid as error:
        raise errors.Invalid(f"from: {found!r} is not an address: {error.message}.") from error


def some_address(values: Mapping[str, Any]) -> addresses.Address | None:
    """The `address`, if there is one."""
    found = text(values, "address")
    if found is None:
        return None
    try:
        return addresses.parse(found)
    except errors.Invalid as error:
        raise errors.Invalid(f"{found!r} is not an address: {error.message}.") from error


def address(values: Mapping[str, Any]) -> addresses.Address:
    """The `address`, which is required."""
    found = some_address(values)
    if found is None:
        raise errors.Invalid("Say which address, as ?address=… or in the body, where there is one.")
    return found


def moment(values: Mapping[str, Any], name: str) -> datetime | None:
    """A member that is a moment, with its time zone; None if it is not there."""
    found = text(values, name)
    if found is None:
        return None
    try:
        at = datetime.fromisoformat(found)
        if at.tzinfo:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise errors.Invalid(
        f"{name} must be a moment with its time zone, as in 2026-11-22T23:14:05Z, not {_shown(found)}."
    )


def limit(values: Mapping[str, Any]) -> int:
    """The number of items of a page."""
    given = values.get("limit", str(PAGE_SIZE))
    number = int(given) if re.fullmatch("[0-9]{1,9}", given) else 0
    if not 1 <= number <= MAX_PAGE_SIZE:
        raise errors.Invalid(f"limit must be a number from 1 to {MAX_PAGE_SIZE}.")
    return number


def after(values: Mapping[str, Any]) -> str | None:
    """The id after which a page begins: of a message, or of a delivery; None if it is missing."""
    found = text(values, "after")
    if found is not None and not _MESSAGE_OR_DELIVERY.fullmatch(found):
        raise errors.Invalid(f"after must be the id of a message or of a delivery, as in a list, not {_shown(found)}.")
    return found


def step(values: Mapping[str, Any]) -> timedelta:
    """The duration by which to advance a clock."""
    given = text(values, "by") or ""
    found = durations.parse(given)
    if not found or found > LONGEST_STEP:
        raise errors.Invalid(
            f"by must be a number with d, h, m or s, as in 1d, and at most {LONGEST_STEP.days}d, not {_shown(given)}."
        )
    return found


def ids(values: Mapping[str, Any], *, most: int) -> list[str]:
    """The `ids`; none if there are none."""
    found = values.get("ids", [])
    if not isinstance(found, list) or len(found) > most or not all(map(_is_text, found)):
        raise errors.Invalid(f"ids must be an array of strings, at most {most}.")
    return list(dict.fromkeys(found))


def flag(values: Mapping[str, Any], name: str) -> bool:
    """A member that is true or false, and false if it is not there."""
    found = values.get(name, False)
    if not isinstance(found, bool):
        raise errors.Invalid(f"{name} must be true or false.")
    return found


async def json_body(request: Request, *, members: tuple[str, ...]) -> dict[str, Any]:
    """The body of a request that changes something: a JSON object with some of these members.

    It must say that it is JSON. A page in a browser cannot make a form say so, and would have the browser add the
    credentials of who looks at it.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "The body must be JSON, with content-type: application/json.")
    octets, is_whole = await _body(request, BODY_LIMIT)
    if not is_whole:
        raise HTTPException(413, f"The body must have no more than {BODY_LIMIT:,} octets.")
    try:
        found = json.loads(octets)
    except (ValueError, RecursionError) as error:
        raise errors.Invalid("The body is no JSON.") from error
    if not isinstance(found, dict):
        raise errors.Invalid("The body must be a JSON object.")
    for name in found:
        if name not in members:
            raise errors.Invalid(f"There is no member {_shown(name)} here; there may be {', '.join(members)}.")
    return found


async def header_in_body(request: Request) -> bytes:
    """The header of the message that is the body of a request. The rest is ignored."""
    octets, is_whole = await _body(request, messages.HEADER_LIMIT)
    octets = _BARE_LINE_END.sub(b"\r\n", octets)  # as files have it
    end = messages.end_of_header(octets)
    if end is None and not is_whole:
        raise HTTPException(413, f"The header of the message must have no more than {messages.HEADER_LIMIT:,} octets.")
    return octets[:end]


async def _body(request: Request, most: int) -> tuple[bytes, bool]:
    """The beginning of a body, and whether that is all. It is read to its end, so that the answer can be, too."""
    octets = bytearray()
    async for part in request.stream():
        octets += part[: most + 1 - len(octets)]
    return bytes(octets[:most]), len(octets) <= most


def _is_text(value: Any) -> bool:
    """Whether a value is usable text. A database could not store unprintable text either."""
    return isinstance(value, str) and bool(value) and value.isprintable()


def _shown(value: str) -> str:
    return repr(value if len(value) <= 80 else f"{value[:80]}…")
