"""Says whether the answers that concurrent callers got about alias links are those of one call after the other.

A history is linearizable if its calls can be put in one order that explains every answer, and in which a call that
had ended before another began comes first (Herlihy and Wing, 1990). The search for the order is that of Wing and
Gong with Lowe's memory of where it has been: the same calls done with the same links left is the same place.

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

# How many email addresses a kind of call names, and what it can answer in words. A description answers with ids.
_KINDS: Final = {
    "associate": (2, {"ok", "conflict", "busy"}),
    "disassociate": (2, {"ok", "not found", "busy"}),
    "describe": (1, set()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call as its caller saw it. Without an outcome, it has no moment at which it returned either."""

    process: str
    kind: Literal["associate", "disassociate", "describe"]
    arguments: tuple[str, ...]  # the primary and the alias, or the one described
    outcome: Outcome | None
    invoked_at: float  # of a monotonic clock that all processes share
    returned_at: float | None

    def __post_init__(self) -> None:
        # A recorder's slip must not pass for a fault of the system, or hide one.
        how_many, answers = _KINDS[self.kind]
        if len(set(self.arguments)) != how_many or len(self.arguments) != how_many:
            raise ValueError(f"{self.kind} takes {how_many} different email addresses, not {self.arguments}.")
        if (self.outcome is None) != (self.returned_at is None):
            raise ValueError(f"{self} must have both an outcome and a moment at which it returned, or neither.")
        if self.returned_at is not None and self.returned_at < self.invoked_at:
            raise ValueError(f"{self} returned before it was invoked.")
        fits = self.outcome in answers if isinstance(self.outcome, str) else self.kind == "describe"
        if self.outcome is not None and not fits:
            raise ValueError(f"{self.kind} never answers {self.outcome!r}.")

    def __str__(self) -> str:
        return f"{self.process}: {self.kind}({', '.join(self.arguments)}) → {_in_words(self.outcome)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A history that no order explains, and how far the best order came."""

    history: tuple[Operation, ...]
    order: tuple[Operation, ...]  # the longest that explains its answers; also unknown ones that had to take effect
    state: State  # after that order
    stuck: tuple[Operation, ...]  # real time lets each of these come next, its answer does not

    def __str__(self) -> str:
        explained = [f"  {operation}" for operation in self.order] or ["  (nothing)"]
        stuck = [
            f"  {operation}, but the answer would be {_in_words(answer(self.state, operation))}"
            for operation in self.stuck
        ]
        unsure = any(operation.outcome is None for operation in self.history)
        return "\n".join(
            [
                "No order of these calls explains their answers:",
                render(self.history),
                "The longest order that can be explained:",
                *explained,
                f"The links are then: {_links_in_words(self.state)}",
                f"None of these can come next{', whatever calls of unknown outcome did' if unsure else ''}:",
                *stuck,
            ]
        )


def answer(state: State, operation: Operation) -> Outcome:
    """What a system with these links answers when it is asked alone."""
    if operation.kind == "describe":
        return tuple(sorted(alias for primary, alias in state if primary == operation.arguments[0]))
    if operation.kind == "disassociate":
        return "ok" if operation.arguments in state else "not found"
    return "conflict" if any(end in link for link in state for end in operation.arguments) else "ok"


def step(state: State, operation: Operation) -> State | Literal["impossible"]:
    """The links after this call, or `IMPOSSIBLE` if it cannot have had its outcome here.

    An unknown outcome is whatever the system would have answered.
    """
    if operation.outcome == "busy":
        return state  # a lock was not had in time, which can happen anywhere, and nothing was done
    answered = answer(state, operation)
    if operation.outcome not in {None, answered}:
        return IMPOSSIBLE
    if answered != "ok":
        return state
    link = {operation.arguments}
    return state | link if operation.kind == "associate" else state - link


def check(history: Iterable[Operation]) -> Violation | None:
    """None if one order respects real time and explains every known outcome, from no links on."""
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
    """A line for each call, by the moment it began, counted from the first."""
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
    """Where the search is: which operations are done, as bits, and the links they left."""

    done: int
    state: State
    order: tuple["_Place", int] | None  # the place before and the operation that led here; None at the start

    def after(self, i: int, state: State) -> "_Place":
        return _Place(self.done | 1 << i, state, (self, i))

    def in_order(self) -> list[int]:
        order, place = [], self
        while place.order:
            place, i = place.order
            order.append(i)
        return order[::-1]


def _candidates(operations: list[Operation], done: int) -> Iterator[int]:
    """Those not done that may come next: they began before any other that is not done had ended."""
    first_end = float("inf")
    not_done = ((1 << len(operations)) - 1) & ~done
    while not_done:
        lowest = not_done & -not_done
        i = lowest.bit_length() - 1
        operation = operations[i]
        if operation.invoked_at > first_end:
            return  # and the rest began later still
        if operation.returned_at is not None:
            first_end = min(first_end, operation.returned_at)
        yield i
        not_done ^= lowest


def _take_what_changes_nothing(operations: list[Operation], known: int, place: _Place) -> _Place:
    """Go on past every answer that is right here and changes nothing.

    If an order exists in which such a call comes later, it also exists with the call moved here. So there is
    nothing to choose, and the search branches over changes alone.
    """
    here = None
    while here is not place:
        here = place
        for i in _candidates(operations, here.done):
            if known >> i & 1 and step(place.state, operations[i]) == place.state:
                place = place.after(i, place.state)
    return place


def _changes(operations: list[Operation], place: _Place) -> list[_Place]:
    """Where the calls that change links lead to, the most promising last."""
    sure, unsure = [], {}
    for i in _candidates(operations, place.done):
        operation = operations[i]
        state = step(place.state, operation)
        if state in {IMPOSSIBLE, place.state}:
            continue
        if operation.outcome is None:
            # Of unknown calls that ask the same, the first will do: whenever a later one can come, so can it.
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
