"""What would happen to mail for an address, as a page shows it."""

from collections.abc import Iterator
from functools import partial

from msgspec import Struct

from waypost.app.mail import explain
from waypost.app.mail.explain import Course, Explanation
from waypost.console.views import places
from waypost.console.visits import Visit
from waypost.domain import errors
from waypost.domain.directory import addresses
from waypost.domain.mail import messages, routes

TEXT_LIMIT = 100_000
"""The maximum length of a pasted message, in characters. Only its header is read."""


class Question(Struct, frozen=True):
    """The mail to explain."""

    sender: str | None
    """The envelope sender; empty for the null sender, None if unknown."""
    header: bytes | None
    """The header of the message; None if no message was given."""


NOTHING_KNOWN = Question(None, None)


class Delivery(Struct, frozen=True):
    """A delivery that would be made, in words."""

    address: str
    how: str
    destination: str
    keeps_copy: bool
    """Whether the inbox also keeps a copy of mail that is sent elsewhere."""
    details: tuple[str, ...]


class Shown(Struct, frozen=True):
    """An explanation, in words."""

    is_accepted: bool
    because: tuple[str, ...]
    deliveries: tuple[Delivery, ...]
    received_lines: str
    """A sentence about the Received fields of the message; empty if no message was given."""


async def explanation(visit: Visit, asked: explain.Asked) -> Explanation:
    """Return what would happen to mail for an address of the person's account now. As at the SMTP port, no mail is
    accepted while the disk is too full.
    """
    use_case = partial(
        explain.explain,
        deployment=visit.parts.deployment,
        account=visit.account,
        asked=asked,
        now=visit.parts.mail_clock(),
        faults=visit.parts.faults,
    )
    found = await visit.long_read(use_case, what="the explanation")
    return explain.without_room(found) if visit.parts.is_full() else found


def shown(found: Explanation) -> Shown:
    """Return an explanation in words."""
    received = ""
    if found.received_lines is not None:
        received = (
            f"The message has {found.received_lines} Received lines; the maximum is {messages.MAX_RECEIVED_LINES}."
        )
    return Shown(
        found.is_accepted,
        (f"{found.loop}.",) if found.loop else tuple(found.because),
        () if found.loop else tuple(map(_delivery, found.courses)),
        received,
    )


def _delivery(course: Course) -> Delivery:
    to = course.destination
    return Delivery(
        to.email_address.address.text,
        f"{to.reason.value} through {to.alias.address}" if to.alias else to.reason.value,
        routes.shown(course.leads_to) or places.INBOX,
        keeps_copy=bool(course.leads_to) and to.route.keep,
        details=tuple(_details(course)),
    )


def _details(course: Course) -> Iterator[str]:
    route = course.destination.route
    if course.is_routed:
        number = f"Route {course.route_number}" if course.route_number else "The route in the settings file"
        yield f"{number} for {route.match}."
    if route.fault:
        yield f"Injected fault: {route.fault.value}."
    if course.rewriting:
        change = f"rewritten to {course.rewriting.domain}" if course.rewriting.domain else "unchanged"
        yield f"Sender {change}: {course.rewriting.because}"
    if course.forecast:
        for name in ("spf", "dkim", "dmarc"):
            expected = getattr(course.forecast, name)
            yield f"{name.upper()} {expected.outcome.value}: {expected.because}"


def sender(text: str) -> str | None:
    """Return the sender that a person typed: None if the field is empty, and an empty string for `<>`, the null sender.

    Raises `errors.Invalid`.
    """
    if text in {"", "<>"}:
        return "" if text else None
    return addresses.parse_typed(text).text


def header_of(text: str) -> bytes | None:
    """Return the header of a pasted message, or None if the text is empty. Raises `errors.Invalid` if it is too long.

    Text that people copy often begins with empty lines, which no message does.
    """
    text = text.lstrip("\r\n")
    if not text:
        return None
    if len(text) > TEXT_LIMIT:
        raise errors.Invalid(f"The message must have at most {TEXT_LIMIT:,} characters. Its header is enough.")
    octets = text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    end = messages.end_of_header(octets)
    return octets if end is None else octets[:end]
