"""Tests that the program contains no code that a supported version of Python runs wrongly."""

import symtable
from pathlib import Path

import waypost

SOURCE = Path(waypost.__file__).parent


def clashes(table):
    """Yield each function in which the variable of a comprehension has the name of a variable of an outer function.

    Python 3.12.0 and 3.12.1 fail there with `UnboundLocalError`, because they inline the comprehension.
    """
    free = {symbol.get_name() for symbol in table.get_symbols() if table.get_type() == "function" and symbol.is_free()}
    for child in table.get_children():
        if child.get_name() in ("listcomp", "dictcomp", "setcomp"):
            own = {symbol.get_name() for symbol in child.get_symbols() if symbol.is_local()}
            if own & free:
                yield f"{table.get_name()}, line {child.get_lineno()}: {', '.join(sorted(own & free))}"
        yield from clashes(child)


def test_no_comprehension_reuses_the_name_of_a_variable_of_an_outer_function():
    found = {
        str(path.relative_to(SOURCE)): list(clashes(symtable.symtable(path.read_text(encoding="utf-8"), "", "exec")))
        for path in SOURCE.rglob("*.py")
    }
    assert {name: places for name, places in found.items() if places} == {}
