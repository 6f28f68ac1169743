"""Checks whether a history of concurrent calls about alias links is linearizable.

A history is linearizable if its calls can be put in an order that explains every result, and in which a call that ended
before another call began comes first (Herlihy and Wing, 1990). The search for this order is the algorithm of Wing and
Gong with Lowe's cache of visited configurations. A configuration is the set of completed calls and the remaining links.

A call whose outcome is unknown, because the connection was lost or the server failed, may have taken effect at any
time after it began, or never.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

State = frozenset[tuple[str, str]]  # links, each of a primary and its alias
Outcome = Literal["ok", "conflict", "not found", "busy"] | tuple[str, ...]

IMPOSSIBLE: Final = "impossible"
NO_LINKS: Final[State] = frozenset()

# For each kind of call: the number of email addresses that it names, and its possible results. `describe` returns ids.
_KINDS: Final = {
    "associate": (2, {"ok", "conflict", "busy"}),
    "disassociate": (2, {"ok", "not found", "busy"}),
    "describe": (1, set()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A call as its caller observed it. A call with an unknown outcome has no time at which it returned."""

    process: str
    kind: Literal["associate", "disassociate", "describe"]
    arguments: tuple[str, ...]  # the primary and the alias, or the address that is described
    outcome: Outcome | None
    invoked_at: float  # time of a monotonic clock that all processes share
    returned_at: float | None

    def __post_init__(self) -> None:
        # An error of the recorder must not look like an error of the system, or hide one.
        how_many, answers = _KINDS[self.kind]
        if len(set(self.arguments)) != how_many or len(self.arguments) != how_many:
            raise ValueError(f"{self.kind} takes {how_many} different email addresses, not {self.arguments}.")
        if (self.outcome is None) != (self.returned_at is None):
            raise ValueError(f"{self} must have both an outcome and a time at which it returned, or neither of them.")
        if self.returned_at is not None and self.returned_at < self.invoked_at:
            raise ValueError(f"{self} returned before it was invoked.")
        fits = self.outcome in answers if isinstance(self.outcome, str) else self.kind == "describe"
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
    state: State  # the links after that order
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
                f"None of these calls can come next{', regardless of calls with unknown outcome' if unsure else ''}:",
                *stuck,
            ]
        )


def answer(state: State, operation: Operation) -> Outcome:
    """Return the result of a call to a system with these links, without concurrent calls."""
    if operation.kind == "describe":
        return tuple(sorted(alias for primary, alias in state if primary == operation.arguments[0]))
    if operation.kind == "disassociate":
        return "ok" if operation.arguments in state else "not found"
    return "conflict" if any(end in link for link in state for end in operation.arguments) else "ok"


def step(state: State, operation: Operation) -> State | Literal["impossible"]:
    """Return the links after this call, or `IMPOSSIBLE` if the call cannot have its outcome in this state.

    A call with an unknown outcome is treated as a call with the result that the system would have returned.
    """
    if operation.outcome == "busy":
        return state  # the call did not get a lock in time, which can happen in any state, and changed nothing
    answered = answer(state, operation)
    if operation.outcome not in {None, answered}:
        return IMPOSSIBLE
    if answered != "ok":
        return state
    link = {operation.arguments}
    return state | link if operation.kind == "associate" else state - link


def check(history: Iterable[Operation]) -> Violation | None:
    """Return None if an order that begins without links respects real time and explains every known outcome."""
    operations = sorted(history, key=lambda operation: operation.invoked_at)
    known = sum(1 << i for i, operation in enumerate(operations) if operation.outcome is not None)
    longest = _Place(0, NO_LINKS, None)
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
    """A configuration of the search: the completed operations, as bits, and the remaining links."""

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
            if known >> i & 1 and step(place.state, operations[i]) == place.state:
                place = place.after(i, place.state)
    return place


def _changes(operations: list[Operation], place: _Place) -> list[_Place]:
    """Return the configurations after each call that changes links, the most promising last."""
    sure, unsure = [], {}
    for i in _candidates(operations, place.done):
        operation = operations[i]
        state = step(place.state, operation)
        if state in {IMPOSSIBLE, place.state}:
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
    return ", ".join(f"{alias} is the alias of {primary}" for primary, alias in sorted(state)) or "none"
