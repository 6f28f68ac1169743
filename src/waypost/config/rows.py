"""A row of the table of settings, and the names of a setting on the command line and elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from waypost.config.types import Type

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One setting of `waypost serve`."""

    name: str = ""
    """As in the settings file."""
    type: Type[Any]
    default: str
    """The default as a person would write it; empty for none."""
    help: str
    in_file: bool = True
    """Whether a settings file may have it."""
    is_secret: bool = False
    """Whether a message must not quote it."""

    @property
    def option(self) -> str:
        """Its option on the command line."""
        return option_name(self.name)

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return environment_name(self.name)


def setting(type_: Type[T], default: str, text: str, *, in_file: bool = True, is_secret: bool = False) -> T:
    """A row as the field of a dataclass, whose value is the parsed one, and by default the parsed default."""
    row = Row(type=type_, default=default, help=text, in_file=in_file, is_secret=is_secret)
    value: T = field(default=type_.read(default), metadata={"row": row}, repr=not is_secret)
    return value


def rows_of(table: type[Any]) -> Mapping[str, Row]:
    """All rows of such a dataclass, by the names of their settings."""
    found = {each.name: each.metadata["row"] for each in fields(table) if "row" in each.metadata}
    return {name: replace(row, name=name) for name, row in found.items()}


def option_name(name: str) -> str:
    """The command-line option of a setting."""
    return f"--{name.replace('_', '-')}"


def environment_name(name: str) -> str:
    """The environment variable of a setting."""
    return f"WAYPOST_SERVE_{name.upper()}"
