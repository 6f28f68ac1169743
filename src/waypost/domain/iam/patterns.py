"""Texts of a policy that stand for other texts: with the wildcards `*` and `?`, and with variables.

A variable is `${aws:username}`, or `${aws:username, 'nobody'}` with the value to use if the request has none.
`${*}`, `${?}` and `${$}` are those characters themselves. Values that replace variables are always literal: a
tag with the value `*` gives nobody everything. A text with a variable that has no value matches nothing
(IAM User Guide, "Policy variables with no value").
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from waypost.domain import errors
from waypost.domain.iam import keys


class Wildcard(Enum):
    """What is in a pattern instead of a character."""

    MANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Variable:
    """A place in a text that a value of the request fills."""

    key: str
    default: str | None


Piece = str | Wildcard | Variable

_TOKENS = {
    (True, True): re.compile(r"\$\{[^}]*\}?|[*?]"),
    (True, False): re.compile(r"[*?]"),
    (False, True): re.compile(r"\$\{[^}]*\}?"),
    (False, False): re.compile(r"(?!)"),
}
"""What is not plain text: with wildcards or not, with variables or not."""

_VARIABLE = re.compile(r"\$\{(?P<key>[^\s,]+)(?:, '(?P<default>[^']*)')?\}")

ARN_PARTS = 6
"""arn, partition, service, region, account, resource; only the last may have colons of its own."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is compared as a whole; `*` and `?` are only characters in it."""

    pieces: tuple[Piece, ...]
    fixed: str | None
    """The whole text, if it has no variables."""

    def value(self, lookup: keys.Lookup) -> str | None:
        """The text for this request, or None if one of its variables has no value."""
        if self.fixed is not None:
            return self.fixed
        resolved = _resolve(self.pieces, lookup)
        return None if resolved is None else plain(resolved)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with wildcards. In an ARN, a wildcard stands for characters of one part, and never for a colon."""

    parts: tuple[tuple[Piece, ...], ...]
    fixed: re.Pattern[str] | None
    """The pattern itself, if it has no variables."""

    @property
    def needed_keys(self) -> frozenset[str]:
        """The keys that its variables need."""
        return frozenset[str]().union(*map(keys_of, self.parts))

    def matches(self, text: str, lookup: keys.Lookup) -> bool:
        """Whether the text is one that this pattern stands for, in this request."""
        if self.fixed is not None:
            return self.fixed.fullmatch(text) is not None
        resolved = [_resolve(part, lookup) for part in self.parts]
        known = [part for part in resolved if part is not None]
        return len(known) == len(resolved) and re.compile(_expression(known), re.DOTALL).fullmatch(text) is not None


def text(source: str, *, variables: bool) -> Text:
    """Read a text without wildcards."""
    pieces = read(source, wildcards=False, variables=variables)
    return Text(pieces, plain(pieces))


def pattern(source: str, *, variables: bool) -> Pattern:
    """Read a text with wildcards."""
    return of_parts([read(source, wildcards=True, variables=variables)])


def arn(source: str, *, variables: bool) -> list[tuple[Piece, ...]]:
    """Read an ARN with wildcards into its parts, up to six. A colon inside a variable does not part anything."""
    parts: list[list[Piece]] = [[]]
    for piece in read(source, wildcards=True, variables=variables):
        rest = piece
        while isinstance(rest, str) and ":" in rest and len(parts) < ARN_PARTS:
            head, _, rest = rest.partition(":")
            parts[-1].append(head)
            parts.append([])
        parts[-1].append(rest)
    return [tuple(piece for piece in part if piece != "") for part in parts]


def of_parts(parts: Sequence[tuple[Piece, ...]]) -> Pattern:
    """A pattern of the parts of an ARN, or of one part that is no ARN."""
    has_variables = any(keys_of(part) for part in parts)
    return Pattern(tuple(parts), None if has_variables else re.compile(_expression(parts), re.DOTALL))


def glob(source: str) -> str:
    """The regular expression of a text with wildcards and no variables, to be one alternative of many."""
    return _expression([read(source, wildcards=True, variables=False)])


def keys_of(pieces: Iterable[Piece]) -> frozenset[str]:
    """The keys whose values the variables in a text need."""
    return frozenset(piece.key for piece in pieces if isinstance(piece, Variable))


def plain(pieces: Sequence[Piece]) -> str | None:
    """The text of pieces that are all text, else None."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    return "".join(texts) if len(texts) == len(pieces) else None


def read(source: str, *, wildcards: bool, variables: bool) -> tuple[Piece, ...]:
    """Take a text apart. Raises `errors.Invalid` for a malformed variable."""
    pieces: list[Piece] = []
    end = 0
    for found in _TOKENS[wildcards, variables].finditer(source):
        pieces += [source[end : found.start()], _piece(found[0])]
        end = found.end()
    pieces.append(source[end:])
    return tuple(piece for piece in pieces if piece != "")


def _piece(token: str) -> Piece:
    if not token.startswith("$"):
        return Wildcard(token)
    if not token.endswith("}"):
        raise errors.Invalid(f"the variable {token!r} has no closing brace")
    if token in {"${*}", "${?}", "${$}"}:
        return token[2]
    parsed = _VARIABLE.fullmatch(token)
    if not parsed:
        raise errors.Invalid(f"{token!r} is no variable, as in ${{aws:username}} or ${{aws:username, 'nobody'}}")
    return Variable(keys.read(parsed["key"]), parsed["default"])


def _resolve(pieces: tuple[Piece, ...], lookup: keys.Lookup) -> tuple[str | Wildcard, ...] | None:
    resolved: list[str | Wildcard] = []
    for piece in pieces:
        if isinstance(piece, Variable):
            value = keys.single(piece.key, lookup)
            if value is None:
                value = piece.default
            if value is None:
                return None
            resolved.append(value)
        else:
            resolved.append(piece)
    return tuple(resolved)


def _expression(parts: Sequence[Sequence[Piece]]) -> str:
    *inner, last = parts
    return ":".join([*(_part(part, "[^:]") for part in inner), _part(last, ".")])


def _part(pieces: Sequence[Piece], character: str) -> str:
    """The regular expression for one part. Only its last `*` can give characters back.

    What stands between two `*` is found at its first place and never looked for again, as that is as good as
    any later one; otherwise twenty `*` in a policy would take years to fail on a long value.
    """
    chunks = [""]
    for piece in pieces:
        if piece is Wildcard.MANY:
            chunks.append("")
        else:
            chunks[-1] += character if piece is Wildcard.ONE else re.escape(str(piece))
    first, *others = chunks
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>{character}*?{chunk})" for chunk in middle) + f"{character}*{last}"
