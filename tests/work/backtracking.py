r"""Checks whether a regular expression takes linear time on every text, by its structure, without executing it.

CPython tries the possible matches of an expression one after the other. For a repeated text w, there are too many
possible matches in three cases:

- a state can return to itself in two ways on w, as in `(a+)+`. The time grows exponentially;
- a state can return to itself on w, and can also reach another such state on w, as in `a*a*b`. The time is quadratic;
- the first of these two states is the search, which starts again at each position: `[ \t]+x` in `re.search`.

The expression is converted into an automaton with a state for each character of the expression (Glushkov 1961). The
cases are detected in products of the automaton with itself (Weber and Seidl 1991, "On the degree of ambiguity of finite
automata").

The check is stricter than necessary. A long bounded repetition is treated as unbounded, and the characters that a state
accepts are only compared for `SAMPLE`. A final repetition after which nothing is required cannot fail, so it is
accepted.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from re import _constants as codes  # Python has no public API for parsed expressions
from re import _parser as parser
from typing import Any

SAMPLE = [*map(chr, range(0x180)), *"\u0640\u0663\u1680\u2028\u2029\u202e\u3000\uff20\ufb03\ud800\U0001f600"]
"""A sample of all characters. Every expression of the program treats any other character like one of these."""

FEW = 8
"""A repetition of at most this many characters is not treated as a repetition, because its cost is bounded."""

START = -1
"""The state of a search that has not yet found the beginning of a match."""

_REPEATS = {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}


@dataclass
class Automaton:
    """The states of an expression, and the number of ways (1, or 2 for more) from each state to the next states."""

    accepts: list[frozenset[int]] = field(default_factory=list)
    """The characters that each state accepts, as indexes of `SAMPLE`."""
    cage: list[int] = field(default_factory=list)
    """The atomic group that contains each state, or 0 if there is none."""
    follows: dict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    ends: set[int] = field(default_factory=set)
    """The states after which nothing is required, so that the expression has matched when it reaches them."""
    cages: int = 0


@dataclass
class _Part:
    """A part of an expression: its first and last states, and the number of ways in which it can match nothing."""

    first: Counter[int] = field(default_factory=Counter)
    last: Counter[int] = field(default_factory=Counter)
    empty: int = 1


def why_not_linear(pattern: "re.Pattern[Any]", *, searches: bool) -> str:
    """Return the reason why an expression may take more than linear time; empty if its time is linear.

    `searches` is whether the expression is searched for at every position of a text, not only at its beginning.
    """
    automaton, whole, is_anchored = _automaton(pattern)
    everything = frozenset(range(len(SAMPLE)))
    if searches and not is_anchored:
        automaton.follows[START] = whole.first + Counter({START: 1})
    accepts = {START: everything} | dict(enumerate(automaton.accepts))
    loops = [place for place in accepts if place in _reachable(automaton, place, accepts)]
    for place in loops:
        if place is not START and _returns_in_two_ways(automaton, place, accepts):
            return f"exponential: {_shown(accepts[place])} is repeated within a repetition"
    for one, other in product(loops, loops):
        if one == other or other is START or other in automaton.ends:
            continue
        is_atomic = one is not START and automaton.cage[one] and automaton.cage[one] != automaton.cage[other]
        if not is_atomic and _both_on_one_text(automaton, one, other, accepts):
            what = "the search" if one == START else f"the repetition of {_shown(accepts[one])}"
            return f"quadratic: the repetition of {_shown(accepts[other])} can also match text that {what} consumes"
    return ""


def _automaton(pattern: "re.Pattern[Any]") -> tuple[Automaton, _Part, bool]:
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    flags = pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
    parsed = parser.parse(source, flags & ~re.DEBUG | (re.ASCII if isinstance(pattern.pattern, bytes) else 0))
    automaton = Automaton()
    whole = _Reader(automaton, parsed.state.flags).sequence(parsed, cage=0)
    # Nothing is required after a state at which the expression may end, unless an assertion follows.
    bare = Automaton()
    automaton.ends = set(_Reader(bare, parsed.state.flags, assertions_block=True).sequence(parsed, cage=0).last)
    first = parsed[0] if len(parsed) else None
    is_anchored = (
        first is not None and first[0] is codes.AT and first[1] in {codes.AT_BEGINNING, codes.AT_BEGINNING_STRING}
    )
    return automaton, whole, is_anchored and not flags & re.MULTILINE


class _Reader:
    def __init__(self, automaton: Automaton, flags: int, *, assertions_block: bool = False) -> None:
        self._automaton = automaton
        self._flags = flags
        self._assertions_block = assertions_block

    def sequence(self, items: Iterable[tuple[Any, Any]], *, cage: int) -> _Part:
        whole = _Part()
        for code, value in items:
            whole = self._then(whole, self._item(code, value, cage))
        return whole

    def _then(self, one: _Part, other: _Part) -> _Part:
        self._link(one.last, other.first)
        first, last = one.first.copy(), other.last.copy()
        for place, ways in other.first.items() if one.empty else ():
            first[place] = min(2, first[place] + ways * one.empty)
        for place, ways in one.last.items() if other.empty else ():
            last[place] = min(2, last[place] + ways * other.empty)
        return _Part(first, last, min(2, one.empty * other.empty))

    def _link(self, last: Counter[int], first: Counter[int]) -> None:
        for place, ways in last.items():
            for following, more in first.items():
                now = self._automaton.follows[place]
                now[following] = min(2, now[following] + ways * more)

    def _item(self, code: Any, value: Any, cage: int) -> _Part:
        if code in {codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN}:
            return self._place(_characters(code, value, self._flags), cage)
        if code is codes.BRANCH:
            return self._either([self.sequence(branch, cage=cage) for branch in value[1]])
        if code is codes.SUBPATTERN:
            _, added, removed, inner = value
            outside, self._flags = self._flags, self._flags & ~removed | added
            part = self.sequence(inner, cage=cage)
            self._flags = outside
            return part
        if code in _REPEATS:
            least, most, inner = value
            return self._repeat(least, most, inner, self._new_cage() if code is codes.POSSESSIVE_REPEAT else cage)
        if code is codes.ATOMIC_GROUP:
            return self.sequence(value, cage=self._new_cage())
        if code is codes.AT:
            return self._blocked(cage)
        if code in {codes.ASSERT, codes.ASSERT_NOT}:
            return self._assertion(*value, cage)
        if code is codes.FAILURE:
            return self._place(frozenset(), cage)
        raise NotImplementedError(f"{code} is not supported by the check: write the expression without it")

    def _assertion(self, direction: int, inner: Any, cage: int) -> _Part:
        looked_at = self.sequence(inner, cage=cage)
        blocked = self._blocked(cage)
        if self._assertions_block or direction < 0:  # a look-behind has a fixed width
            return blocked
        return _Part(looked_at.first, Counter(), 1)  # no state follows it, but states before it lead to it

    def _blocked(self, cage: int) -> _Part:
        """Return a part that matches no character, and may fail."""
        nowhere = self._place(frozenset(), cage)
        return nowhere if self._assertions_block else _Part()

    def _place(self, accepts: frozenset[int], cage: int) -> _Part:
        place = len(self._automaton.accepts)
        self._automaton.accepts.append(accepts)
        self._automaton.cage.append(cage)
        return _Part(Counter({place: 1}), Counter({place: 1}), 0)

    def _either(self, parts: list[_Part]) -> _Part:
        whole = _Part(empty=0)
        for part in parts:
            whole = _Part(whole.first + part.first, whole.last + part.last, min(2, whole.empty + part.empty))
        return whole

    def _repeat(self, least: int, most: Any, inner: Any, cage: int) -> _Part:
        part = self.sequence(inner, cage=cage)
        if most is codes.MAXREPEAT or most > FEW:
            self._link(part.last, part.first)
            if least > FEW:  # the first iterations are not yet a match
                return self._then(part, self._blocked(cage))
            return _Part(part.first, part.last, 1 if least == 0 else part.empty)
        rest = _Part()
        for number in range(most - 1, 0, -1):  # `a{2,4}` is `aa(a(a)?)?`
            rest = self._then(self.sequence(inner, cage=cage), rest)
            rest.empty = rest.empty if number < least else 1
        part = self._then(part, rest)
        return _Part(part.first, part.last, 1 if least == 0 else part.empty)

    def _new_cage(self) -> int:
        self._automaton.cages += 1
        return self._automaton.cages


@cache
def _of_category(category: Any, *, is_ascii: bool) -> frozenset[int]:
    letter = {codes.CATEGORY_DIGIT: r"\d", codes.CATEGORY_SPACE: r"\s", codes.CATEGORY_WORD: r"\w"}
    opposite = {codes.CATEGORY_NOT_DIGIT: r"\D", codes.CATEGORY_NOT_SPACE: r"\S", codes.CATEGORY_NOT_WORD: r"\W"}
    matches = re.compile((letter | opposite)[category], re.ASCII if is_ascii else 0).fullmatch
    return frozenset(number for number, character in enumerate(SAMPLE) if matches(character))


def _characters(code: Any, value: Any, flags: int) -> frozenset[int]:
    """Return the characters that one element of an expression accepts, as indexes of `SAMPLE`."""
    if code is codes.ANY:
        return frozenset(number for number, one in enumerate(SAMPLE) if flags & re.DOTALL or one != "\n")
    if code is codes.NOT_LITERAL:
        return frozenset(range(len(SAMPLE))) - _characters(codes.LITERAL, value, flags)
    if code is codes.LITERAL:
        return _in_range(value, value, flags)
    negated = bool(value) and value[0][0] is codes.NEGATE
    found: set[int] = set()
    for kind, what in value[negated:]:
        if kind is codes.LITERAL:
            found |= _in_range(what, what, flags)
        elif kind is codes.RANGE:
            found |= _in_range(*what, flags)
        else:
            found |= _of_category(what, is_ascii=bool(flags & re.ASCII))
    return frozenset(range(len(SAMPLE))) - found if negated else frozenset(found)


def _in_range(low: int, high: int, flags: int) -> frozenset[int]:
    spellings = (lambda one: {one, one.lower(), one.upper()}) if flags & re.IGNORECASE else (lambda one: {one})
    return frozenset(
        number
        for number, character in enumerate(SAMPLE)
        if any(len(one) == 1 and low <= ord(one) <= high for one in spellings(character))
    )


def _reachable(automaton: Automaton, place: int, accepts: dict[int, frozenset[int]]) -> set[int]:
    found: set[int] = set()
    waiting = [place]
    while waiting:
        for following in automaton.follows.get(waiting.pop(), ()):
            if following not in found and accepts[following]:
                found.add(following)
                waiting.append(following)
    return found


def _returns_in_two_ways(automaton: Automaton, place: int, accepts: dict[int, frozenset[int]]) -> bool:
    """Return whether a state can return to itself in two ways on the same text."""
    seen = {(place, place, False)}
    waiting = list(seen)
    while waiting:
        one, other, differ = waiting.pop()
        for (left, ways), right in product(automaton.follows[one].items(), automaton.follows[other]):
            if not accepts[left] & accepts[right]:
                continue
            state = (left, right, differ or left != right or (one == other and left == right and ways > 1))
            if state == (place, place, True):
                return True
            if state not in seen:
                seen.add(state)
                waiting.append(state)
    return False


def _both_on_one_text(automaton: Automaton, one: int, other: int, accepts: dict[int, frozenset[int]]) -> bool:
    """Return whether one text can lead `one` to itself, `one` to `other`, and `other` to itself."""
    seen = {(one, one, other)}
    waiting = list(seen)
    while waiting:
        for state in _steps(automaton, waiting.pop(), accepts):
            if state == (one, other, other):
                return True
            if state not in seen:
                seen.add(state)
                waiting.append(state)
    return False


def _steps(
    automaton: Automaton, state: tuple[int, int, int], accepts: dict[int, frozenset[int]]
) -> Iterator[tuple[int, int, int]]:
    first, between, second = (automaton.follows.get(place, Counter()) for place in state)
    for left in first:
        for right in second:
            common = accepts[left] & accepts[right]
            for middle in between if common else ():
                if common & accepts[middle]:
                    yield left, middle, right


def _shown(characters: frozenset[int]) -> str:
    some = "".join(SAMPLE[number] for number in sorted(characters, key=lambda number: not SAMPLE[number].isalnum())[:3])
    return ascii(some)
