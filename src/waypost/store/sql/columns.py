"""Lists the columns of a table once, for the queries and for the conversion of rows to values.

A table's reader and writer are compiled when the program starts, as `dataclasses` compiles `__init__`: at run time
they cost what a function costs that names every column by hand.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any, Generic, TypeVar, get_type_hints

T = TypeVar("T")

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a column stores a value. Each function takes one value and returns one; None leaves the value as it is."""

    read: Callable[[Any], Any] | None = None
    write: Callable[[Any], Any] | None = None


AS_IS = Kind()


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    field: str = ""
    """The field of the value, as `envelope.sender`; empty if it has the name of the column."""
    kind: Kind = AS_IS
    is_given: bool = False
    """Whether the reader and the writer get this value as an argument, as for a secret."""

    @property
    def path(self) -> tuple[str, ...]:
        """The fields that lead to the value, from the outermost."""
        return tuple((self.field or self.name).split("."))


class Columns(Generic[T]):
    """The columns that store the values of one dataclass, in the order of the lists in SQL."""

    def __init__(self, of: type[T], *columns: Column) -> None:
        """Raises `TypeError` if a field of the dataclass has no column, or a column has no field."""
        self._of = of
        self._columns = columns
        self._places = {column.name: place for place, column in enumerate(columns)}
        self.names = tuple(self._places)
        self.read = self.reader()
        """The value of a row that begins with these columns; given columns follow as arguments."""
        self.write = self._writer()
        """The row of a value; given columns follow as arguments."""

    def __len__(self) -> int:
        """How many columns there are."""
        return len(self._columns)

    def get(self, row: Row, name: str) -> Any:
        """One column of a row, by its name."""
        return row[self._places[name]]

    def reader(self, *, start: int = 0) -> Callable[..., T]:
        """A function that reads the value of a row in which these columns begin at place `start`."""
        names: dict[str, Any] = {}
        codes = [(column.path, code) for column, code in zip(self._columns, self._reads(start, names), strict=True)]
        return self._compiled("row", _construction(self._of, codes, names), names)

    def _reads(self, start: int, names: dict[str, Any]) -> Iterator[str]:
        for place, column in enumerate(self._columns):
            yield column.path[-1] if column.is_given else _called(column.kind.read, f"row[{start + place}]", names)

    def _writer(self) -> Callable[..., Row]:
        names: dict[str, Any] = {}
        values = [
            column.path[-1] if column.is_given else _called(column.kind.write, f"value.{'.'.join(column.path)}", names)
            for column in self._columns
        ]
        return self._compiled("value", f"({', '.join(values)},)", names)

    def _compiled(self, argument: str, code: str, names: dict[str, Any]) -> Callable[..., Any]:
        given = [column.path[-1] for column in self._columns if column.is_given]
        source = f"lambda {', '.join([argument, *given])}: {code}"
        function: Callable[..., Any] = eval(source, names)  # noqa: S307 - made of the names in `tables.py` alone
        return function


def _called(function: Callable[[Any], Any] | None, code: str, names: dict[str, Any]) -> str:
    """The code of a call, with its function under a name of its own."""
    return code if function is None else f"{_named(function, names)}({code})"


def _named(what: Any, names: dict[str, Any]) -> str:
    """The name by which the compiled code knows a function or class."""
    name = f"_{len(names)}"
    names[name] = what
    return name


def _construction(of: type[Any], codes: Sequence[tuple[tuple[str, ...], str]], names: dict[str, Any]) -> str:
    """The code that makes a value of a dataclass, and the values within it, from the code of each field."""
    types = get_type_hints(of)
    by_field = {
        field: [(path[1:], code) for path, code in group]
        for field, group in groupby(sorted(codes, key=lambda pair: pair[0][0]), key=lambda pair: pair[0][0])
    }
    if wrong := by_field.keys() ^ {field.name for field in fields(of)}:
        raise TypeError(f"{of.__name__} and its columns differ in {', '.join(sorted(wrong))}")
    arguments = [
        f"{field}={found[0][1] if found[0][0] == () else _construction(types[field], found, names)}"
        for field, found in by_field.items()
    ]
    return f"{_named(of, names)}({', '.join(arguments)})"
