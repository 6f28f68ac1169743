"""The events in a message's trace, with one type for each kind of event.

The store and the inspection API use the same names for the kinds of events and for the members of an event. Only the
functions `members` and `from_members` convert an event object to its members, or back. The reference documentation
includes the note from each field's `Annotated` type.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeVar, cast, get_args

from msgspec import NODEFAULT, Struct, field
from msgspec.structs import fields

from waypost.domain.mail.delivery import Event

Members = Mapping[str, str | int]
"""The members of an event, keyed by the names that the store and the inspection API use."""

Address = Annotated[str, "the email address whose delivery the event is about"]
Because = Annotated[str, "the reason, in a sentence or two"]
Destination = Annotated[str, "the destination of the route"]
Reason = Annotated[str, "the reason for the delivery: `direct` or `forwarded`; absent for a notice"]
RouteMatch = Annotated[str, "the `match` of the route, such as `*@example.com`; absent if only the inbox is used"]
What = Annotated[str, "the subject of the notice: `failed`, `delayed`, `delivered`, `relayed`, or `a mail loop`"]


class Attempt(Struct, frozen=True, kw_only=True):
    """An attempt to deliver a message over a route, and its result."""

    number: Annotated[int, "the number of the attempt, from 1"] = field(name="attempt")
    destination: Destination
    peer: Annotated[str, "the peer: a mail server, a directory, or the host of a webhook"] = ""
    stage: Annotated[str, "the last stage that the attempt reached, such as `connect`, `rcpt` or `end`"] = ""
    reply: Annotated[str, "the peer's reply"] = ""
    trouble: Annotated[str, "the problem, if the attempt did not end with a reply, such as `timeout`"] = ""
    tls: Annotated[str, "the TLS version and cipher; absent without TLS"] = ""
    fault: Annotated[str, "the fault that the route injected into the attempt"] = ""


class AcceptedEvent(Struct, frozen=True, kw_only=True):
    """The server replied 250 and is responsible for the message."""

    kind: ClassVar[str] = "accepted"
    sender: Annotated[str, "the envelope sender; empty for the null sender"] = field(name="from")
    peer: Annotated[str, "the IP address of the client"]
    helo: Annotated[str, "the name that the client gave in EHLO, HELO or LHLO"]
    protocol: Annotated[str, "the protocol of the session, such as `ESMTPS`"]
    size: Annotated[int, "the size of the message as sent after DATA, in bytes"]
    tls: Annotated[str, "the TLS version and cipher; absent without TLS"] = ""
    routes: Annotated[str, "the revision of the routes that were in effect"] = ""
    forged_authentication_results: Annotated[
        int,
        "the number of forged `Authentication-Results` fields that have this server's name; absent if there are none",
    ] = 0
    unchecked: Annotated[
        str, "the reason why the sender was not checked; absent if it was checked, or if checks are switched off"
    ] = ""
    faults: Annotated[
        str, "the fault rules that delayed the session, or cut it off after the acceptance; absent if there are none"
    ] = ""


class CheckedEvent(Struct, frozen=True, kw_only=True):
    """The server checked SPF, DKIM and DMARC."""

    kind: ClassVar[str] = "checked"
    spf: Annotated[str, "the result of SPF, and its domain"]
    dkim: Annotated[str, "the result of each DKIM signature, and its domain"]
    dmarc: Annotated[str, "the result of DMARC, and its domain"]


class QueuedEvent(Struct, frozen=True, kw_only=True):
    """A delivery waits for its first attempt over a route."""

    kind: ClassVar[str] = Event.QUEUED.value
    address: Address
    reason: Reason = ""
    because: Because
    destination: Destination = ""
    route: RouteMatch = ""
    inbox: Annotated[str, "`keeps a copy` if the inbox also keeps a copy; otherwise absent"] = ""


class DeliveredEvent(Struct, frozen=True, kw_only=True):
    """A copy is in the inbox or, if the event has an attempt, the delivery over a route succeeded."""

    kind: ClassVar[str] = Event.DELIVERED.value
    address: Address
    reason: Reason = ""
    because: Because = ""
    attempt: Attempt | None = None


class MovedEvent(Struct, frozen=True, kw_only=True):
    """The routes have changed, so the next attempt will go to a new destination."""

    kind: ClassVar[str] = Event.MOVED.value
    address: Address
    destination: Destination
    because: Because


class DeferredEvent(Struct, frozen=True, kw_only=True):
    """An attempt failed, and the server will try again."""

    kind: ClassVar[str] = Event.DEFERRED.value
    address: Address
    attempt: Attempt
    until: Annotated[str, "the time of the next attempt"]
    because: Because


class DeadEvent(Struct, frozen=True, kw_only=True):
    """The server makes no more attempts, so the delivery is a dead letter."""

    kind: ClassVar[str] = Event.DEAD.value
    address: Address
    attempt: Attempt | None = None
    status: Annotated[str, "the enhanced status code (RFC 3463)"] = ""
    because: Because
    path: Annotated[str, "the servers that the message has passed through; only for a mail loop"] = ""


class RedrivenEvent(Struct, frozen=True, kw_only=True):
    """An operator, or a caller of the API, redrove the delivery."""

    kind: ClassVar[str] = Event.REDRIVEN.value
    address: Address
    destination: Destination = ""
    because: Because


class DelayedEvent(Struct, frozen=True, kw_only=True):
    """A delivery is delayed, so a notice to the sender is due."""

    kind: ClassVar[str] = "delayed"
    address: Address
    because: Because


class NotifiedEvent(Struct, frozen=True, kw_only=True):
    """The server sent a notice to the sender or to the owner of the email address."""

    kind: ClassVar[str] = "notified"
    address: Address
    what: What
    whom: Annotated[str, "the addressee of the notice: `sender` or `owner`"]
    notice: Annotated[str, "the message id of the notice"]


class NotNotifiedEvent(Struct, frozen=True, kw_only=True):
    """The server did not send a notice. The event gives the reason."""

    kind: ClassVar[str] = "not notified"
    address: Address
    what: What
    because: Because


class LateBounceEvent(Struct, frozen=True, kw_only=True):
    """A peer first accepted the copy, but later sent a bounce for it."""

    kind: ClassVar[str] = "late bounce"
    address: Address
    bounce: Annotated[str, "the message id of the bounce"]
    action: Annotated[str, "the `Action` of the report (RFC 3464)"] = ""
    status: Annotated[str, "the `Status` of the report"] = ""
    reply: Annotated[str, "the `Diagnostic-Code` of the report"] = ""


class SparedEvent(Struct, frozen=True, kw_only=True):
    """The server omitted a duplicate copy for an email address."""

    kind: ClassVar[str] = "spared"
    address: Address
    because: Because


class DeletedEvent(Struct, frozen=True, kw_only=True):
    """A delivery was deleted on request. The message is kept for its other deliveries."""

    kind: ClassVar[str] = "deleted"
    address: Address
    account: Annotated[str, "the account of the delivery"]
    because: Because


class OtherEvent(Struct, frozen=True):
    """An event that another version of the server wrote and that this version cannot read. All its members are kept."""

    kind: str
    members: Members

    @property
    def address(self) -> str:
        """The email address whose delivery the event is about; empty if the event names no email address."""
        return str(self.members.get("address", ""))


KnownEvent = (
    AcceptedEvent
    | CheckedEvent
    | QueuedEvent
    | DeliveredEvent
    | MovedEvent
    | DeferredEvent
    | DeadEvent
    | RedrivenEvent
    | DelayedEvent
    | NotifiedEvent
    | NotNotifiedEvent
    | LateBounceEvent
    | SparedEvent
    | DeletedEvent
)
"""All kinds of events that this version writes."""

TraceDetail = KnownEvent | OtherEvent

DeliveryChange = QueuedEvent | DeliveredEvent | MovedEvent | DeferredEvent | DeadEvent | RedrivenEvent
"""The events that change a delivery. The kinds of these events are the values of `domain.mail.delivery.Event`."""

KINDS: Mapping[str, type[KnownEvent]] = {kind.kind: kind for kind in get_args(KnownEvent)}
"""The event types by kind, in the order in which they usually occur."""


class TraceEvent(Struct, frozen=True):
    """One line in a message's trace: the time of an event, and the event's details."""

    at: datetime
    detail: TraceDetail

    @property
    def kind(self) -> str:
        """The kind of the event, which has the same name in the store and in the inspection API."""
        return self.detail.kind


def address_of(detail: TraceDetail) -> str:
    """Return the email address whose delivery an event is about; empty if the event is about the whole message."""
    return "" if isinstance(detail, AcceptedEvent | CheckedEvent) else detail.address


def members(detail: TraceDetail) -> dict[str, str | int]:
    """Return the members of an event, keyed by name. Optional members with empty values are omitted."""
    if isinstance(detail, OtherEvent):
        return dict(detail.members)
    return _WRITERS[type(detail)](detail)


def from_members(kind: str, found: Members) -> TraceDetail:
    """Build an event of the given kind from its members.

    The result is an `OtherEvent` if this version cannot read the members.
    """
    left = dict(found)
    try:
        detail = _taken(KINDS[kind], left)
    except (KeyError, TypeError):
        return OtherEvent(kind, dict(found))
    return OtherEvent(kind, dict(found)) if left else detail


class Member(Struct, frozen=True):
    """The description of an event's member, for the reference documentation."""

    field: str
    """The name of the field that holds the member's value."""
    name: str
    """The name of the member in the store and in the inspection API."""
    type: type
    note: str
    default: object
    """The value for which the member is omitted, or `msgspec.NODEFAULT` if the member is required."""


def members_of(kind: type[KnownEvent | Attempt]) -> list[Member]:
    """Return the members that events of a kind can have, in the order of the fields.

    If the event has an attempt, the attempt's members take the place of the `attempt` field.
    """
    return [member for one in _FORMS[kind] for member in (_FORMS[Attempt] if one.type is Attempt else [one])]


def _form(kind: type[Any]) -> tuple[Member, ...]:
    return tuple(Member(one.name, one.encode_name, *_type_and_note(one.type), one.default) for one in fields(kind))


def _type_and_note(annotation: Any) -> tuple[type, str]:
    """Return the type and the note of an `Annotated` type.

    The note is empty for the type `Attempt`, which is not annotated.
    """
    type_, *notes = get_args(annotation) or (annotation,)
    return (Attempt, "") if type_ is Attempt else (type_, notes[-1])


_FORMS: Mapping[type[Any], tuple[Member, ...]] = {kind: _form(kind) for kind in (*KINDS.values(), Attempt)}


def _writer(form: Sequence[Member]) -> Callable[[Any], dict[str, str | int]]:
    """Return a function that returns the members of an event of one kind.

    For speed, the function is compiled when the program starts, just as `dataclasses` compiles `__init__`. Each message
    has several events, and a loop over the fields of each event would take three times as long.
    """
    lines = ["def members(event):", "    found = {}"]
    for member in form:
        value = f"event.{member.field}"
        if member.type is Attempt:
            lines += [f"    if {value} is not None:", f"        found |= of_attempt({value})"]
        else:
            indent = "    " if member.default is NODEFAULT else f"    if {value}:\n        "
            lines.append(f"{indent}found[{member.name!r}] = {value}")
    names: dict[str, Any] = {"of_attempt": _of_attempt}
    exec("\n".join([*lines, "    return found"]), names)  # noqa: S102 - the code has only the names of the fields above
    return cast("Callable[[Any], dict[str, str | int]]", names["members"])


def _of_attempt(attempt: Attempt) -> dict[str, str | int]:
    return _WRITERS[Attempt](attempt)


_WRITERS = {kind: _writer(form) for kind, form in _FORMS.items()}


T = TypeVar("T")


def _taken(kind: type[T], left: dict[str, str | int]) -> T:
    """Build an instance of a class from the members in `left`, and remove those members from `left`.

    Raises `KeyError` if a required member is missing, or `TypeError` if the value of a member has the wrong type.
    """
    given: dict[str, object] = {}
    for member in _FORMS[kind]:
        if member.type is Attempt:
            is_there = not left.keys().isdisjoint(one.name for one in _FORMS[Attempt])
            given[member.field] = _taken(Attempt, left) if is_there or member.default is NODEFAULT else None
        elif member.name in left or member.default is NODEFAULT:
            value = left.pop(member.name)
            if type(value) is not member.type:
                raise TypeError(member.name)
            given[member.field] = value
    return kind(**given)
