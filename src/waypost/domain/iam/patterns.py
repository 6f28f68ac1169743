"""Policy strings with the wildcards `*` and `?`, and with variables.

A variable is written `${aws:username}`, or `${aws:username, 'nobody'}` with a default value. `${*}`, `${?}` and
`${$}` stand for the literal characters `*`, `?` and `$`. The value of a variable is always literal, so a tag with the
value `*` is not a wildcard. A string with a variable that has no value never matches (IAM User Guide, "Policy
variables with no value").
"""

import re
from collections.abc import Iterable, Sequence
from enum import Enum

from msgspec import Struct

from waypost.domain import errors
from waypost.domain.iam import keys


class Wildcard(Enum):
    """A wildcard in a pattern: `*` or `?`."""

    MANY = "*"
    ONE = "?"


class Variable(Struct, frozen=True):
    """A placeholder in a policy string, which is replaced with a value from the request."""

    key: str
    default: str | None


Piece = str | Wildcard | Variable

_TOKENS = {
    (True, True): re.compile(r"\$\{[^}]*\}?|[*?]"),
    (True, False): re.compile(r"[*?]"),
    (False, True): re.compile(r"\$\{[^}]*\}?"),
    (False, False): re.compile(r"(?!)"),
}
"""The regular expressions that find wildcards and variables in a policy string, keyed by pairs of flags.

The first flag allows wildcards, and the second allows variables.
"""

_VARIABLE = re.compile(r"\$\{(?P<key>[^\s,]+)(?:, '(?P<default>[^']*)')?\}")

ARN_PARTS = 6
"""The number of parts in an ARN: arn, partition, service, region, account and resource. Resources may have colons."""


class Text(Struct, frozen=True):
    """A string that is compared for equality, and in which `*` and `?` are literal characters."""

    pieces: tuple[Piece, ...]
    fixed: str | None
    """The whole string, or None if the string has variables."""

    def value(self, lookup: keys.Lookup) -> str | None:
        """Return the string with its variables replaced, or None if the request lacks a value for a variable."""
        if self.fixed is not None:
            return self.fixed
        resolved = _resolve(self.pieces, lookup)
        return None if resolved is None else plain(resolved)


class Pattern(Struct, frozen=True):
    """A string with wildcards. In an ARN, a wildcard never matches beyond its own part. Of all parts, only the resource
    may contain colons, so only a wildcard in the resource can match a colon.
    """

    parts: tuple[tuple[Piece, ...], ...]
    fixed: re.Pattern[str] | None
    """The compiled pattern, or None if the pattern has variables."""

    @property
    def needed_keys(self) -> frozenset[str]:
        """The condition keys of the pattern's variables."""
        return frozenset[str]().union(*map(keys_of, self.parts))

    def matches(self, text: str, lookup: keys.Lookup) -> bool:
        """Return whether the text matches this pattern, with the pattern's variables replaced for this request."""
        if self.fixed is not None:
            return self.fixed.fullmatch(text) is not None
        resolved = [_resolve(part, lookup) for part in self.parts]
        known = [part for part in resolved if part is not None]
        return len(known) == len(resolved) and re.compile(_expression(known), re.DOTALL).fullmatch(text) is not None


def text(source: str, *, variables: bool) -> Text:
    """Parse a policy string without wildcards."""
    pieces = read(source, wildcards=False, variables=variables)
    return Text(pieces, plain(pieces))


def pattern(source: str, *, variables: bool) -> Pattern:
    """Parse a policy string with wildcards."""
    return of_parts([read(source, wildcards=True, variables=variables)])


def arn(source: str, *, variables: bool) -> list[tuple[Piece, ...]]:
    """Split an ARN with wildcards into at most six parts. A colon inside a variable is not a separator."""
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
    """Build a pattern from the parts of an ARN, or from a single part if the string is not an ARN."""
    has_variables = any(keys_of(part) for part in parts)
    return Pattern(tuple(parts), None if has_variables else re.compile(_expression(parts), re.DOTALL))


def glob(source: str) -> str:
    """Return the regular expression for a string with wildcards but without variables.

    Several of these expressions can be joined with `|` into one.
    """
    return _expression([read(source, wildcards=True, variables=False)])


def keys_of(pieces: Iterable[Piece]) -> frozenset[str]:
    """Return the condition keys of all variables in the pieces of a string."""
    return frozenset(piece.key for piece in pieces if isinstance(piece, Variable))


def plain(pieces: Sequence[Piece]) -> str | None:
    """Join the pieces into one string; return None if any piece is a wildcard or a variable."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    return "".join(texts) if len(texts) == len(pieces) else None


def read(source: str, *, wildcards: bool, variables: bool) -> tuple[Piece, ...]:
    """Split a policy string into its pieces. Raises `errors.Invalid` for a malformed variable."""
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
        raise errors.Invalid(
            f"{token!r} is not a variable; variables look like ${{aws:username}} or ${{aws:username, 'nobody'}}"
        )
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
    """Return the regular expression for one part of a pattern.

    In this expression, only the last `*` of the part can backtrack. The text between two `*` is matched only at its
    first occurrence, because trying a later occurrence cannot change the result. If every `*` could backtrack, a policy
    with twenty `*` would take years to reject a long value.
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
