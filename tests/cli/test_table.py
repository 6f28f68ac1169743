"""A table fits the terminal."""

import click
import pytest

from waypost.cli import table
from waypost.cli.table import Column

COLUMNS = (Column("Time"), Column("From", 1), Column("Subject", 2))


def row(*texts):
    return [[(text, {})] for text in texts]


def shown(*rows, width):
    return list(map(click.unstyle, table.lines(COLUMNS, rows, width=width)))


def test_columns_with_a_share_divide_the_width_that_is_left():
    header, rule, first = shown(row("12:00", "ann", "Hello"), width=39)
    assert header == "Time   From        Subject"
    assert rule == "─" * 39
    assert first == "12:00  ann         Hello"


def test_a_long_text_ends_with_an_ellipsis():
    *_, first = shown(row("12:00", "somebody@example.com", "x" * 100), width=39)
    assert first == "12:00  somebody@…  " + "x" * 19 + "…"


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("Hello", 5, "Hello"),
        ("Hello", 4, "Hel…"),
        ("Hello", 1, "…"),
        ("Hello", 0, ""),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("e\u0301e\u0301e", 2, "e\u0301…"),
        ("", 0, ""),
    ],
)
def test_a_text_is_cut_by_its_width_on_the_terminal(text, width, expected):
    assert table.cut(text, width) == expected
    assert table.width_of(expected) <= max(width, 0)


def test_the_parts_of_a_cell_are_cut_together():
    cell = [("delivered", {"fg": "green"}), (", ", {}), ("queued", {"fg": "yellow"})]
    (*_, line) = table.lines([Column("Status", 1)], [[cell]], width=12)
    assert click.unstyle(line) == "delivered, …"
    assert line.startswith("\x1b[32mdelivered\x1b[0m")


@pytest.mark.parametrize("width", [0, 1, 5, 10])
def test_a_terminal_that_is_too_narrow_is_no_error(width):
    assert len(shown(row("12:00", "ann", "Hello"), width=width)) == 3
