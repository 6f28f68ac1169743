"""Draws a table that fits a terminal, with characters of single and double width."""

import unicodedata
from collections.abc import Iterator, Sequence

import click
from msgspec import Struct

GAP = 2
"""The number of spaces between two columns."""

Part = tuple[str, dict[str, object]]
"""A text without control characters, and its style, as the arguments of `click.style`."""

Cell = Sequence[Part]


class Column(Struct, frozen=True):
    """A column of a table."""

    name: str
    share: int = 0
    """The column's share of the width that is left over by the columns without a share, which get what they need."""


def lines(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, width: int) -> Iterator[str]:
    """Yield the lines of a table: its header, a rule, and its rows. A text that is too long ends with an ellipsis."""
    widths = _widths(columns, rows, width)
    yield _line([[(column.name, {"bold": True})] for column in columns], widths)
    yield "─" * min(width, sum(widths) + GAP * (len(widths) - 1))
    for row in rows:
        yield _line(row, widths)


def width_of(text: str) -> int:
    """Return the number of terminal columns that a text takes."""
    return sum(map(_width, text))


def cut(text: str, width: int) -> str:
    """Return the text or, if it takes more than `width` columns, its beginning and an ellipsis."""
    if width_of(text) <= width:
        return text
    kept, left = "", width - 1
    for letter in text:
        left -= _width(letter)
        if left < 0:
            break
        kept += letter
    return f"{kept}…" if width > 0 else ""


def _width(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    needed = [
        max([width_of(column.name), *(width_of(_text(row[place])) for row in rows)])
        for place, column in enumerate(columns)
    ]
    shared = [need for need, column in zip(needed, columns, strict=True) if not column.share]
    left = max(0, width - sum(shared) - GAP * (len(columns) - 1))
    shares = sum(column.share for column in columns)
    return [
        left * column.share // shares if column.share else need for need, column in zip(needed, columns, strict=True)
    ]


def _text(cell: Cell) -> str:
    return "".join(text for text, _ in cell)


def _line(row: Sequence[Cell], widths: Sequence[int]) -> str:
    return (" " * GAP).join(_filled(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _filled(cell: Cell, width: int) -> str:
    """Return a cell with its styles, which takes exactly `width` columns."""
    shown, left = "", width
    for text, style in cell:
        fitting = cut(text, left)
        left -= width_of(fitting)
        shown += click.style(fitting, **style) if style else fitting  # type: ignore[arg-type]
    return shown + " " * left
