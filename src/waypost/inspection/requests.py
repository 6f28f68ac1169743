"""Parses requests to the inspection API. The error for an invalid member names the member and the expected format."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request

from waypost.app.queue import redrive
from waypost.domain import durations, errors
from waypost.domain.directory import addresses
from waypost.domain.mail import messages
from waypost.domain.mail.delivery import Reason, Status
from waypost.domain.mail.mail_filter import MailFilter

PAGE_SIZE = 50
MAX_PAGE_SIZE = 500

IDS_LIMIT = redrive.AT_ONCE
"""The maximum number of ids in one request. One transaction redrives all dead letters that a request names."""

HIGHEST_PART = 999_999
"""The highest number of a part that a request can have."""

STATUSES: Mapping[str, Literal[Status.QUEUED, Status.DEAD]] = {"queued": Status.QUEUED, "dead": Status.DEAD}
"""The statuses by which a list of deliveries can be filtered, by the value of `status`."""

BODY_LIMIT = 64 * 1024
"""The maximum size of a JSON body, in bytes."""

LONGEST_STEP = timedelta(days=3650)
"""The longest time by which one request can advance the clock."""

_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MESSAGE_OR_DELIVERY = re.compile(rf"{_ID}(\.{_ID})?")
_BARE_LINE_END = re.compile(rb"(?<!\r)\n")


def text(values: Mapping[str, Any], name: str) -> str | None:
    """Return the string in the member `name`; None if the member is missing. Raises `errors.Invalid`."""
    found: str | None = values.get(name)
    if found is not None and not _is_text(found):
        raise errors.Invalid(f"`{name}` must be a nonempty string of printable characters.")
    return found


def sender(values: Mapping[str, Any]) -> str | None:
    """Return the sender from the member `from`; None if it is missing. Raises `errors.Invalid`.

    An empty string or `<>` is the null sender, which is returned as an empty string.
    """
    if values.get("from") in {"", "<>"}:
        return ""
    found = text(values, "from")
    if found is None:
        return None
    try:
        return addresses.parse(found).text
    except errors.Invalid as error:
        raise errors.Invalid(f"`from` must be an email address, but {found!r} is not: {error.message}.") from error


def some_address(values: Mapping[str, Any]) -> addresses.Address | None:
    """Return the email address from the member `address`; None if it is missing. Raises `errors.Invalid`."""
    found = text(values, "address")
    return None if found is None else addresses.parse_typed(found)


def address(values: Mapping[str, Any]) -> addresses.Address:
    """Return the email address from the member `address`. Raises `errors.Invalid` if the member is missing or
    malformed.
    """
    found = some_address(values)
    if found is None:
        raise errors.Invalid(
            "An address is required, as the query parameter `address` or as the member `address` of a JSON body."
        )
    return found


def moment(values: Mapping[str, Any], name: str) -> datetime | None:
    """Return the time in the member `name`; None if the member is missing. Raises `errors.Invalid` if the member is not
    a time with a time zone.
    """
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
        f"`{name}` must be a time with a time zone, such as 2026-11-22T23:14:05Z, not {_shown(found)}."
    )


def limit(values: Mapping[str, Any]) -> int:
    """Return the maximum number of items on a page, from the member `limit`. Raises `errors.Invalid`."""
    given = values.get("limit", str(PAGE_SIZE))
    number = int(given) if re.fullmatch("[0-9]{1,9}", given) else 0
    if not 1 <= number <= MAX_PAGE_SIZE:
        raise errors.Invalid(f"`limit` must be a number from 1 to {MAX_PAGE_SIZE}.")
    return number


def after(values: Mapping[str, Any]) -> str | None:
    """Return the id of the message or delivery after which a page begins; None if the member `after` is missing.

    Raises `errors.Invalid`.
    """
    found = text(values, "after")
    if found is not None and not _MESSAGE_OR_DELIVERY.fullmatch(found):
        raise errors.Invalid(f"`after` must be the id of a message or delivery from a list, not {_shown(found)}.")
    return found


def filters(values: Mapping[str, Any], address: addresses.Address | None) -> MailFilter:
    """Return the filter of a list of deliveries, from the members `reason` and `status` and an address. Raises
    `errors.Invalid`.
    """
    reason, status = values.get("reason"), values.get("status")
    if reason is not None and reason not in set(Reason):
        raise errors.Invalid(f"`reason` must be {', '.join(Reason)}, not {_shown(reason)}.")
    if status is not None and status not in STATUSES:
        raise errors.Invalid(f"`status` must be {' or '.join(STATUSES)}, not {_shown(status)}.")
    return MailFilter(
        reason=Reason(reason) if reason else None,
        status=STATUSES[status] if status else None,
        address_key=address.key if address else "",
    )


def step(values: Mapping[str, Any]) -> timedelta:
    """Return the time by which to advance the clock, from the member `by`. Raises `errors.Invalid`."""
    given = text(values, "by") or ""
    found = durations.parse(given)
    if not found or found > LONGEST_STEP:
        raise errors.Invalid(
            f"`by` must be a number followed by d, h, m or s, such as 1d, and at most {LONGEST_STEP.days}d, "
            f"not {_shown(given)}."
        )
    return found


def ids(values: Mapping[str, Any]) -> list[str]:
    """Return the distinct strings in the member `ids`; an empty list if the member is missing.

    Raises `errors.Invalid` if there are more than `IDS_LIMIT` strings.
    """
    found = values.get("ids", [])
    if not isinstance(found, list) or len(found) > IDS_LIMIT or not all(map(_is_text, found)):
        raise errors.Invalid(f"`ids` must be an array of at most {IDS_LIMIT} strings.")
    return list(dict.fromkeys(found))


def number(values: Mapping[str, Any], name: str) -> int | None:
    """Return the number in the member `name` of a JSON body; None if it is missing. Raises `errors.Invalid`."""
    found = values.get(name)
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or not 0 < found < 10**6):
        raise errors.Invalid(f"`{name}` must be a number from 1 to 999999.")
    return found


def flag(values: Mapping[str, Any], name: str) -> bool:
    """Return the Boolean value of the member `name`; False if the member is missing. Raises `errors.Invalid`."""
    found = values.get(name, False)
    if not isinstance(found, bool):
        raise errors.Invalid(f"`{name}` must be true or false.")
    return found


def switch(values: Mapping[str, Any], name: str) -> bool:
    """Return the Boolean value of the query parameter `name`; False if it is missing. Raises `errors.Invalid`."""
    found = values.get(name, "false")
    if found not in {"true", "false"}:
        raise errors.Invalid(f"`{name}` must be true or false, not {_shown(found)}.")
    return bool(found == "true")


def part_number(given: str, what: str) -> int:
    """Return the number of a part. `what` names the value in the error. Raises `errors.Invalid`."""
    number = int(given) if re.fullmatch("[0-9]{1,9}", given) else 0
    if not 1 <= number <= HIGHEST_PART:
        raise errors.Invalid(
            f"{what[0].upper()}{what[1:]} must be a number from 1 to {HIGHEST_PART}, not {_shown(given)}."
        )
    return number


async def json_body(request: Request, *, members: tuple[str, ...]) -> dict[str, Any]:
    """Return the body of a request that changes data: a JSON object that has no members other than `members`.

    The request's content type must be `application/json`. An HTML form cannot send this content type. Therefore, a web
    page of another site cannot use a form to misuse the credentials of the browser's user. Raises `errors.Invalid` and
    `HTTPException`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "The body must be JSON, with the content type application/json.")
    octets, is_whole = await _body(request, BODY_LIMIT)
    if not is_whole:
        raise HTTPException(413, f"The body must have at most {BODY_LIMIT:,} bytes.")
    try:
        found = json.loads(octets)
    except (ValueError, RecursionError) as error:
        raise errors.Invalid("The body is not valid JSON.") from error
    if not isinstance(found, dict):
        raise errors.Invalid("The body must be a JSON object.")
    for name in found:
        if name not in members:
            raise errors.Invalid(f"The member {_shown(name)} is unknown. The known members are {', '.join(members)}.")
    return found


async def header_in_body(request: Request) -> bytes:
    """Return the header of the message in a request's body. Raises `HTTPException` if the header is too long."""
    octets, is_whole = await _body(request, messages.HEADER_LIMIT)
    octets = _BARE_LINE_END.sub(b"\r\n", octets)  # files often have LF line endings
    end = messages.end_of_header(octets)
    if end is None and not is_whole:
        raise HTTPException(413, f"The header of the message must have at most {messages.HEADER_LIMIT:,} bytes.")
    return octets[:end]


async def _body(request: Request, most: int) -> tuple[bytes, bool]:
    """Return the first `most` bytes of a body, and whether they are the whole body.

    The rest of the body is read too, because a client may send its whole request before it reads the response.
    """
    octets = bytearray()
    async for part in request.stream():
        octets += part[: most + 1 - len(octets)]
    return bytes(octets[:most]), len(octets) <= most


def _is_text(value: Any) -> bool:
    """Return whether a value is a nonempty printable string. PostgreSQL can store every such string."""
    return isinstance(value, str) and bool(value) and value.isprintable()


def _shown(value: str) -> str:
    return repr(value if len(value) <= 80 else f"{value[:80]}…")
