"""Reads files in the text format of PostgreSQL's COPY, without PostgreSQL.

Source: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

Value = str | int | bytes | None

_ESCAPED = re.compile(r"\\(.)")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NULL = r"\N"
_INTEGERS = {"bigint", "integer", "smallint"}


def rows(path: Path, types: Sequence[str], *, with_bytes: bool = False) -> Iterator[tuple[Value, ...]]:
    """Yield the rows of a file whose columns have these types of PostgreSQL.

    A Boolean is 0 or 1. In place of bytes, a row has their number, unless `with_bytes` is true. Values of other types
    than numbers are text. Raises `OSError`, and `ValueError` if the file is not in this format.
    """
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            texts = line.removesuffix("\n").split("\t")
            yield tuple(_value(text, kind, with_bytes) for text, kind in zip(texts, types, strict=True))


def _value(text: str, kind: str, with_bytes: bool) -> Value:
    if text == _NULL:
        return None
    if kind in _INTEGERS:
        return int(text)
    if kind == "boolean":
        return int(text == "t")
    if kind == "bytea" and with_bytes:
        return bytes.fromhex(text[len(r"\\x") :])
    if kind == "bytea":
        return (len(text) - len(r"\\x")) // 2  # two hexadecimal digits for each byte
    return _ESCAPED.sub(lambda match: _LETTERS.get(match[1], match[1]), text)
