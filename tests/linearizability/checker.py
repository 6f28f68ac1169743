"""Checks whether a history of concurrent calls about email addresses, alias links and tags is linearizable.

A history is linearizable if its calls can be put in an order that explains every result, and in which a call that ended
before another call began comes first (Herlihy and Wing, 1990). The search for this order is the algorithm of Wing and
Gong with Lowe's cache of visited configurations. A configuration is the set of completed calls and the state then.

A call whose outcome is unknown, because the connection was lost or the server failed, may have taken effect at any
time after it began, or never.

Calls name email addresses by their ids. An id that no call of the history creates exists from the beginning.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Outcome = Literal["ok", "conflict", "duplicate", "not found", "busy"] | tuple[str, ...]
Kind = Literal["associate", "disassociate", "describe", "create", "delete", "tag", "untag", "tags"]

IMPOSSIBLE: Final = "impossible"


class State(NamedTuple):
    """The email addresses, links and tags between two calls."""

    ids: frozenset[str] = frozenset()
    owners: frozenset[tuple[str, str]] = frozenset()  # addresses, each with the id of its email address, if it is known
    links: frozenset[tuple[str, str]] = frozenset()  # links, each of a primary and its alias
    tags: frozenset[tuple[str, str, str]] = frozenset()  # the id of an email address, a key, and a value


# For each kind of call: the number of its arguments, and its possible results. The first argument is an id. The calls
# about links name a primary and an alias, `create` an id and its address, `tag` a key and a value, and `untag` a key.
# `describe` returns ids, and `tags` returns texts.
_KINDS: Final = {
    "associate": (2, {"ok", "conflict", "not found", "busy"}),
    "disassociate": (2, {"ok", "not found", "busy"}),
    "describe": (1, {"not found"}),
    "create": (2, {"ok", "duplicate", "busy"}),
    "delete": (1, {"ok", "not found", "busy"}),
    "tag": (3, {"ok", "not found", "busy"}),
    "untag": (2, {"ok", "not found", "busy"}),
    "tags": (1, {"not found"}),
}
_ABOUT_TWO: Final = ("associate", "disassociate")
_READS: Final = ("describe", "tags")
_MAY_CHANGE_NOTHING: Final = ("tag", "untag")
"""The kinds of calls that succeed even if they change nothing, so that their place in the order matters in every case.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A call as its caller observed it. A call with an unknown outcome has no time at which it returned."""

    process: str
    kind: Kind
    arguments: tuple[str, ...]
    outcome: Outcome | None
    invoked_at: float  # time of a monotonic clock that all processes share
    returned_at: float | None

    def __post_init__(self) -> None:
        # An error of the recorder must not look like an error of the system, or hide one.
        how_many, answers = _KINDS[self.kind]
        if self.kind in _ABOUT_TWO and len(set(self.arguments)) != how_many:
            raise ValueError(f"{self.kind} takes {how_many} different email addresses, not {self.arguments}.")
        if len(self.arguments) != how_many:
            raise ValueError(f"{self.kind} takes {how_many} arguments, not {self.arguments}.")
        if (self.outcome is None) != (self.returned_at is None):
            raise ValueError(f"{self} must have both an outcome and a time at which it returned, or neither of them.")
        if self.returned_at is not None and self.returned_at < self.invoked_at:
            raise ValueError(f"{self} returned before it was invoked.")
        fits = self.outcome in answers if isinstance(self.outcome, str) else self.kind in _READS
        if self.outcome is not None and not fits:
            raise ValueError(f"{self.kind} never returns {self.outcome!r}.")

    def __str__(self) -> str:
        return f"{self.process}: {self.kind}({', '.join(self.arguments)}) → {_in_words(self.outcome)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A history that no order explains, and the longest order that explains a part of it."""

    history: tuple[Operation, ...]
    order: tuple[
        Operation, ...
    ]  # the longest order; it includes calls with unknown outcome that must have taken effect
    state: State  # the state after that order
    stuck: tuple[Operation, ...]  # the calls that could come next by real time, but not by their results

    def __str__(self) -> str:
        explained = [f"  {operation}" for operation in self.order] or ["  (nothing)"]
        stuck = [
            f"  {operation}, but the result would be {_in_words(answer(self.state, operation))}"
            for operation in self.stuck
        ]
        unsure = any(operation.outcome is None for operation in self.history)
        return "\n".join(
            [
                "No order of these calls explains their results:",
                render(self.history),
                "The longest order that explains its results:",
                *explained,
                f"The links are then: {_links_in_words(self.state)}",
                *_others_in_words(self.state),
                f"None of these calls can come next{', regardless of calls with unknown outcome' if unsure else ''}:",
                *stuck,
            ]
        )


def start_of(history: Iterable[Operation]) -> State:
    """Return the state before a history: the ids that it names and does not create, without links and tags."""
    named, created = set[str](), set[str]()
    for operation in history:
        named.update(operation.arguments if operation.kind in _ABOUT_TWO else operation.arguments[:1])
        if operation.kind == "create":
            created.add(operation.arguments[0])
    return State(ids=frozenset(named - created))


def answer(state: State, operation: Operation) -> Outcome:
    """Return the result of a call to a system in this state, without concurrent calls."""
    kind, arguments = operation.kind, operation.arguments
    one = arguments[0]
    if kind == "create":
        return "duplicate" if one in state.ids or any(owned == arguments[1] for owned, _ in state.owners) else "ok"
    if one not in state.ids or (kind in _ABOUT_TWO and arguments[1] not in state.ids):
        return "not found"
    if kind == "describe":
        return tuple(sorted(alias for primary, alias in state.links if primary == one))
    if kind == "tags":
        return tuple(sorted(f"{key}={value}" for owner, key, value in state.tags if owner == one))
    if kind == "disassociate":
        return "ok" if arguments in state.links else "not found"
    if kind == "associate":
        return "conflict" if any(end in link for link in state.links for end in arguments) else "ok"
    return "ok"


def step(state: State, operation: Operation) -> State | Literal["impossible"]:
    """Return the state after this call, or `IMPOSSIBLE` if the call cannot have its outcome in this state.

    A call with an unknown outcome is treated as a call with the result that the system would have returned.
    """
    if operation.outcome == "busy":
        return state  # the call did not get a lock in time, which can happen in any state, and changed nothing
    answered = answer(state, operation)
    if operation.outcome not in {None, answered}:
        return IMPOSSIBLE
    return _after(state, operation) if answered == "ok" else state


def _after(state: State, operation: Operation) -> State:
    """Return the state after a call that succeeded."""
    ids, owners, links, tags = state
    one = operation.arguments[0]
    if operation.kind == "associate":
        links |= {operation.arguments}
    elif operation.kind == "disassociate":
        links -= {operation.arguments}
    elif operation.kind == "create":
        ids, owners = ids | {one}, owners | {(operation.arguments[1], one)}
    elif operation.kind == "delete":
        ids -= {one}
        owners = frozenset(each for each in owners if each[1] != one)
        links = frozenset(link for link in links if one not in link)
        tags = frozenset(tag for tag in tags if tag[0] != one)
    else:
        tags = frozenset(tag for tag in tags if tag[:2] != operation.arguments[:2])
        if operation.kind == "tag":
            tags |= {operation.arguments}
    return State(ids, owners, links, tags)


def check(history: Iterable[Operation]) -> Violation | None:
    """Return None if an order that begins without links respects real time and explains every known outcome."""
    operations = sorted(history, key=lambda operation: operation.invoked_at)
    known = sum(1 << i for i, operation in enumerate(operations) if operation.outcome is not None)
    longest = _Place(0, start_of(operations), None)
    seen: set[tuple[int, State]] = set()
    waiting = [longest]
    while waiting:
        place = _take_what_changes_nothing(operations, known, waiting.pop())
        if place.done & known == known:
            return None
        if (place.done, place.state) in seen:
            continue
        seen.add((place.done, place.state))
        longest = max(longest, place, key=lambda each: (each.done & known).bit_count())
        waiting.extend(_changes(operations, place))
    return Violation(
        history=tuple(operations),
        order=tuple(operations[i] for i in longest.in_order()),
        state=longest.state,
        stuck=tuple(operations[i] for i in _candidates(operations, longest.done) if known >> i & 1),
    )


def render(history: Iterable[Operation]) -> str:
    """Return a line for each call, in the order of their start times, which are relative to the first call."""
    operations = sorted(history, key=lambda operation: operation.invoked_at)
    start = operations[0].invoked_at if operations else 0

    def moment(at: float | None) -> str:
        return "?" if at is None else f"{round(at - start, 9):.15g}"

    moments = [(moment(operation.invoked_at), moment(operation.returned_at)) for operation in operations]
    width = max((len(each) for pair in moments for each in pair), default=0)
    return "\n".join(
        f"  {began:>{width}} … {ended:<{width}}  {operation}"
        for (began, ended), operation in zip(moments, operations, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """A configuration of the search: the completed operations, as bits, and the state after them."""

    done: int
    state: State
    order: tuple["_Place", int] | None  # the previous configuration and the operation after it; None at the start

    def after(self, i: int, state: State) -> "_Place":
        return _Place(self.done | 1 << i, state, (self, i))

    def in_order(self) -> list[int]:
        order, place = [], self
        while place.order:
            place, i = place.order
            order.append(i)
        return order[::-1]


def _candidates(operations: list[Operation], done: int) -> Iterator[int]:
    """Yield the operations that can come next: they began before any other incomplete operation ended."""
    first_end = float("inf")
    not_done = ((1 << len(operations)) - 1) & ~done
    while not_done:
        lowest = not_done & -not_done
        i = lowest.bit_length() - 1
        operation = operations[i]
        if operation.invoked_at > first_end:
            return  # all remaining operations began even later
        if operation.returned_at is not None:
            first_end = min(first_end, operation.returned_at)
        yield i
        not_done ^= lowest


def _take_what_changes_nothing(operations: list[Operation], known: int, place: _Place) -> _Place:
    """Complete every operation whose result is correct in this state, and which changes nothing.

    If there is an order in which such a call comes later, there is also an order in which it comes here. The search
    therefore needs to branch only for calls that change the state.
    """
    here = None
    while here is not place:
        here = place
        for i in _candidates(operations, here.done):
            if not known >> i & 1 or _may_change_nothing(operations[i]):
                continue
            if step(place.state, operations[i]) == place.state:
                place = place.after(i, place.state)
    return place


def _may_change_nothing(operation: Operation) -> bool:
    return operation.outcome == "ok" and operation.kind in _MAY_CHANGE_NOTHING


def _changes(operations: list[Operation], place: _Place) -> list[_Place]:
    """Return the configurations after each call that changes something, the most promising last."""
    sure, unsure = [], {}
    for i in _candidates(operations, place.done):
        operation = operations[i]
        state = step(place.state, operation)
        if state == IMPOSSIBLE or (state == place.state and not _may_change_nothing(operation)):
            continue
        if operation.outcome is None:
            # Among equal calls with unknown outcome, only the first is tried, because it can come wherever a later can.
            unsure.setdefault((operation.kind, operation.arguments), place.after(i, state))
        else:
            sure.append(place.after(i, state))
    return [*unsure.values(), *reversed(sure)]


def _in_words(outcome: Outcome | None) -> str:
    if isinstance(outcome, tuple):
        return ", ".join(outcome) or "no alias"
    return outcome or "unknown"


def _links_in_words(state: State) -> str:
    return ", ".join(f"{alias} is the alias of {primary}" for primary, alias in sorted(state.links)) or "none"


def _others_in_words(state: State) -> Iterator[str]:
    if state.owners:
        yield f"The addresses are then: {', '.join(f'{address} ({one})' for address, one in sorted(state.owners))}"
    if state.tags:
        yield f"The tags are then: {', '.join(f'{key}={value} of {one}' for one, key, value in sorted(state.tags))}"
