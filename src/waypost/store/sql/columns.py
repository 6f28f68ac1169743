"""The columns of a table, listed once for both the queries and the conversion between rows and structs.

The functions that read and write the rows of a table are compiled when the program starts, like the `__init__` methods
of `dataclasses`. The compiled functions are as fast as handwritten functions that name every column.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, ClassVar, Generic, TypeVar, get_origin, get_type_hints

from msgspec import Struct

T = TypeVar("T")

Row = Sequence[Any]


class Kind(Struct, frozen=True):
    """The conversion between the stored values of a column and the values of a field.

    `read` converts a stored value to a field's value, and `write` converts it back. If one of these functions is None,
    values are not converted in that direction.
    """

    read: Callable[[Any], Any] | None = None
    write: Callable[[Any], Any] | None = None


AS_IS = Kind()


class Column(Struct, frozen=True):
    """One column of a table."""

    name: str
    field: str = ""
    """The path of the struct field, such as `envelope.sender`. An empty path means that the field has the same name
    as the column."""
    kind: Kind = AS_IS
    is_given: bool = False
    """Whether callers of the reader and writer functions pass this column's value as an argument. For example, the
    caller passes a secret that it has sealed or unsealed."""

    @property
    def path(self) -> tuple[str, ...]:
        """The names of the nested fields that contain the value, starting with the outermost field."""
        return tuple((self.field or self.name).split("."))


class Columns(Generic[T]):
    """The columns that store the fields of a struct, in the order in which queries list them."""

    def __init__(self, of: type[T], *columns: Column) -> None:
        """Compile the reader and writer of the table.

        `of` is the struct. Raises `TypeError` if a field of the struct has no column, or if a column has no
        field.
        """
        self._of = of
        self._columns = columns
        self._places = {column.name: place for place, column in enumerate(columns)}
        self.names = tuple(self._places)
        self.read = self.reader()
        """A function that converts a row, which must begin with these columns, to an instance of the struct.

        The arguments are the row, followed by the values of the columns for which `is_given` is true.
        """
        self.write = self._writer()
        """A function that converts an instance of the struct to a row.

        The arguments are the object, followed by the values of the columns for which `is_given` is true.
        """

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._columns)

    def get(self, row: Row, name: str) -> Any:
        """Return the stored value in one column of a row, given the column's name."""
        return row[self._places[name]]

    def reader(self, *, start: int = 0) -> Callable[..., T]:
        """Return a function that converts a row to an instance of the struct. `start` is the index of this table's
        first column in the row.
        """
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
        function: Callable[..., Any] = eval(source, names)  # noqa: S307 - built only from names in `tables.py`
        return function


def _called(function: Callable[[Any], Any] | None, code: str, names: dict[str, Any]) -> str:
    """Register a function in `names`, and return code that calls it with the value of `code` as the argument. If
    `function` is None, return `code` itself.
    """
    return code if function is None else f"{_named(function, names)}({code})"


def _named(what: Any, names: dict[str, Any]) -> str:
    """Register a function or class in `names`, and return the name that the compiled code uses for it."""
    name = f"_{len(names)}"
    names[name] = what
    return name


def _construction(of: type[Any], codes: Sequence[tuple[tuple[str, ...], str]], names: dict[str, Any]) -> str:
    """Return the code that constructs an object of a struct, including the objects of nested structs.

    `codes` contains the path of each field, and the code that computes the field's value.
    """
    types = get_type_hints(of)
    by_field = {
        field: [(path[1:], code) for path, code in group]
        for field, group in groupby(sorted(codes, key=lambda pair: pair[0][0]), key=lambda pair: pair[0][0])
    }
    if different := by_field.keys() ^ {name for name, type_ in types.items() if get_origin(type_) is not ClassVar}:
        raise TypeError(f"{of.__name__} and its columns differ in {', '.join(sorted(different))}")
    arguments = [
        f"{field}={found[0][1] if found[0][0] == () else _construction(types[field], found, names)}"
        for field, found in by_field.items()
    ]
    return f"{_named(of, names)}({', '.join(arguments)})"
