"""The events of a message's trace: one type for each kind of event.

The words of `kind`, and the names of the members, are those of the store and of the inspection API. `members` and
`from_members` are the only translation between them and the types. The note of each field is what the reference says.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeVar, cast, get_args

from waypost.domain.mail.delivery import Event

Members = Mapping[str, str | int]
"""The members of an event, by their names in the store and in the inspection API."""

Address = Annotated[str, "the email address whose delivery the event is about"]
Because = Annotated[str, "why, in a sentence or two"]
Destination = Annotated[str, "where the route leads"]
Reason = Annotated[str, "why there is a delivery: `direct` or `forwarded`; not for a notice"]
RouteMatch = Annotated[str, "what the route is for, as in `*@example.com`; not for the inbox alone"]
What = Annotated[str, "what the notice tells of: `failed`, `delayed`, `delivered`, `relayed`, or `a mail loop`"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt to deliver over a route, and its result."""

    number: Annotated[int, "the number of the attempt, from 1"] = field(metadata={"name": "attempt"})
    destination: Destination
    peer: Annotated[str, "who answered: a mail server, a directory, or the host of a webhook"] = ""
    stage: Annotated[str, "how far the attempt came, such as `connect`, `rcpt` or `end`"] = ""
    reply: Annotated[str, "what the peer said"] = ""
    trouble: Annotated[str, "what went wrong where it was no reply, such as `timeout`"] = ""
    tls: Annotated[str, "the version and the cipher of TLS; not in clear"] = ""
    fault: Annotated[str, "the fault that the route injects on purpose"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedEvent:
    """The server replied 250 and is responsible for the message."""

    kind: ClassVar[str] = "accepted"
    sender: Annotated[str, "the envelope sender; empty for the null sender"] = field(metadata={"name": "from"})
    peer: Annotated[str, "the IP address of the client"]
    helo: Annotated[str, "what the client said in EHLO, HELO or LHLO"]
    protocol: Annotated[str, "as in `ESMTPS`"]
    size: Annotated[int, "octets as sent after DATA"]
    tls: Annotated[str, "the version and the cipher of TLS; not in clear"] = ""
    routes: Annotated[str, "the revision of the routes that held"] = ""
    forged_authentication_results: Annotated[
        int, "how many `Authentication-Results` fields of the message bear our name; not if none does"
    ] = 0
    unchecked: Annotated[str, "why the sender was not checked; not if it was, or if checks are switched off"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedEvent:
    """SPF, DKIM and DMARC were checked."""

    kind: ClassVar[str] = "checked"
    spf: Annotated[str, "the result of SPF, and its domain"]
    dkim: Annotated[str, "the result of each DKIM signature, and its domain"]
    dmarc: Annotated[str, "the result of DMARC, and its domain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedEvent:
    """A delivery waits for its first attempt over a route."""

    kind: ClassVar[str] = Event.QUEUED.value
    address: Address
    reason: Reason = ""
    because: Because
    destination: Destination = ""
    route: RouteMatch = ""
    inbox: Annotated[str, "`keeps a copy`, if the inbox does, too"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredEvent:
    """A copy is in the inbox; or, with an attempt, the delivery over a route succeeded."""

    kind: ClassVar[str] = Event.DELIVERED.value
    address: Address
    reason: Reason = ""
    because: Because = ""
    attempt: Attempt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedEvent:
    """The routes have changed, so the delivery waits for another destination."""

    kind: ClassVar[str] = Event.MOVED.value
    address: Address
    destination: Destination
    because: Because


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredEvent:
    """An attempt failed; there will be another one."""

    kind: ClassVar[str] = Event.DEFERRED.value
    address: Address
    attempt: Attempt
    until: Annotated[str, "when the next attempt is due"]
    because: Because


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadEvent:
    """The attempts of a delivery ended: it is a dead letter."""

    kind: ClassVar[str] = Event.DEAD.value
    address: Address
    attempt: Attempt | None = None
    status: Annotated[str, "the enhanced status code (RFC 3463)"] = ""
    because: Because
    path: Annotated[str, "of a mail loop, the servers that the message has passed"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedrivenEvent:
    """A delivery is redriven because somebody asked for it."""

    kind: ClassVar[str] = Event.REDRIVEN.value
    address: Address
    destination: Destination = ""
    because: Because


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedEvent:
    """A delivery is delayed, and a notice to the sender was due."""

    kind: ClassVar[str] = "delayed"
    address: Address
    because: Because


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifiedEvent:
    """The sender, or the owner of the email address, was sent a notice."""

    kind: ClassVar[str] = "notified"
    address: Address
    what: What
    whom: Annotated[str, "`sender` or `owner`"]
    notice: Annotated[str, "the id of the notice, which is a message as any other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotNotifiedEvent:
    """There was a reason not to send a notice."""

    kind: ClassVar[str] = "not notified"
    address: Address
    what: What
    because: Because


@dataclass(frozen=True, slots=True, kw_only=True)
class LateBounceEvent:
    """A server that had accepted the copy sent a bounce for it."""

    kind: ClassVar[str] = "late bounce"
    address: Address
    bounce: Annotated[str, "the id of the bounce, which is a message as any other"]
    action: Annotated[str, "the `Action` of the report (RFC 3464)"] = ""
    status: Annotated[str, "the `Status` of the report"] = ""
    reply: Annotated[str, "the `Diagnostic-Code` of the report"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparedEvent:
    """A second copy for one email address was not made."""

    kind: ClassVar[str] = "spared"
    address: Address
    because: Because


@dataclass(frozen=True, slots=True)
class OtherEvent:
    """An event of another version of the server, which this one cannot read. It keeps all members."""

    kind: str
    members: Members

    @property
    def address(self) -> str:
        """The email address whose delivery it is about; empty if it names none."""
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
)
"""Every kind of event that this version writes."""

TraceDetail = KnownEvent | OtherEvent

DeliveryChange = QueuedEvent | DeliveredEvent | MovedEvent | DeferredEvent | DeadEvent | RedrivenEvent
"""Events that change a delivery; the kind is the word of `domain.mail.delivery.Event`."""

KINDS: Mapping[str, type[KnownEvent]] = {kind.kind: kind for kind in get_args(KnownEvent)}
"""The types by their kinds, in the order of a message's life."""


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One line of a message's trace: when something happened, and what."""

    at: datetime
    detail: TraceDetail

    @property
    def kind(self) -> str:
        """The kind of the event, as in the store and in the inspection API."""
        return self.detail.kind


def address_of(detail: TraceDetail) -> str:
    """The email address whose delivery an event is about; empty if it is about the message as a whole."""
    return "" if isinstance(detail, AcceptedEvent | CheckedEvent) else detail.address


def members(detail: TraceDetail) -> dict[str, str | int]:
    """The members of an event, by names. Empty members are left out, unless they are required."""
    if isinstance(detail, OtherEvent):
        return dict(detail.members)
    return _WRITERS[type(detail)](detail)


def from_members(kind: str, found: Members) -> TraceDetail:
    """The event that has these members. Members that this version cannot read make an `OtherEvent`."""
    left = dict(found)
    try:
        detail = _taken(KINDS[kind], left)
    except (KeyError, TypeError):
        return OtherEvent(kind, dict(found))
    return OtherEvent(kind, dict(found)) if left else detail


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an event, for the reference."""

    field: str
    """The name of the field that has its value."""
    name: str
    """The name that the store and the inspection API have for it."""
    type: type
    note: str
    default: object
    """The value with which it is left out; `dataclasses.MISSING` if it never is."""


def members_of(kind: type[KnownEvent | Attempt]) -> list[Member]:
    """The members that events of a kind can have, in their order. Those of an attempt are in the place of its field."""
    return [member for one in _FORMS[kind] for member in (_FORMS[Attempt] if one.type is Attempt else [one])]


def _form(kind: type[Any]) -> tuple[Member, ...]:
    return tuple(
        Member(one.name, one.metadata.get("name", one.name), *_type_and_note(one.type), one.default)
        for one in fields(kind)
    )


def _type_and_note(annotation: Any) -> tuple[type, str]:
    """The note of an `Annotated` type; an attempt has none."""
    type_, *notes = get_args(annotation) or (annotation,)
    return (Attempt, "") if type_ is Attempt else (type_, notes[-1])


_FORMS: Mapping[type[Any], tuple[Member, ...]] = {kind: _form(kind) for kind in (*KINDS.values(), Attempt)}


def _writer(form: Sequence[Member]) -> Callable[[Any], dict[str, str | int]]:
    """A function that gives the members of an event of a kind.

    It is compiled when the program starts, as `dataclasses` compiles `__init__`: each message has some events, and a
    loop over their fields costs three times as much.
    """
    lines = ["def members(event):", "    told = {}"]
    for member in form:
        value = f"event.{member.field}"
        if member.type is Attempt:
            lines += [f"    if {value} is not None:", f"        told |= of_attempt({value})"]
        else:
            indent = "    " if member.default is MISSING else f"    if {value}:\n        "
            lines.append(f"{indent}told[{member.name!r}] = {value}")
    names: dict[str, Any] = {"of_attempt": _of_attempt}
    exec("\n".join([*lines, "    return told"]), names)  # noqa: S102 - made of the names of the fields above alone
    return cast("Callable[[Any], dict[str, str | int]]", names["members"])


def _of_attempt(attempt: Attempt) -> dict[str, str | int]:
    return _WRITERS[Attempt](attempt)


_WRITERS = {kind: _writer(form) for kind, form in _FORMS.items()}


T = TypeVar("T")


def _taken(kind: type[T], left: dict[str, str | int]) -> T:
    """A value of a type, of members that are taken from `left`.

    Raises `KeyError` or `TypeError` if a required member is missing, or one has a value of another type.
    """
    given: dict[str, object] = {}
    for member in _FORMS[kind]:
        if member.type is Attempt:
            is_there = not left.keys().isdisjoint(one.name for one in _FORMS[Attempt])
            given[member.field] = _taken(Attempt, left) if is_there or member.default is MISSING else None
        elif member.name in left or member.default is MISSING:
            value = left.pop(member.name)
            if type(value) is not member.type:
                raise TypeError(member.name)
            given[member.field] = value
    return kind(**given)
