"""The rows of the settings table, and the names that settings have on the command line and in the environment."""

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from waypost.config.types import Type

T = TypeVar("T")

DATA_DIRECTORY = "./waypost-data"
"""The default of the setting `data`. Commands need it, but not the whole table."""


class Row(Struct, frozen=True, kw_only=True):
    """One setting of `waypost serve`."""

    name: str = ""
    """The name of the setting in the settings file."""
    type: Type[Any]
    default: str
    """The default value in the form used on the command line; empty if the setting has no default."""
    help: str
    in_file: bool = True
    """Whether a settings file may contain this setting."""
    is_secret: bool = False
    """Whether error messages must not show the value of this setting."""
    is_reloadable: bool = False
    """Whether a running server uses a new value of this setting after SIGHUP. Otherwise, it must be restarted."""

    @property
    def option(self) -> str:
        """The command-line option for this setting."""
        return option_name(self.name)

    @property
    def variable(self) -> str:
        """The name of the environment variable for this setting."""
        return environment_name(self.name)


def setting(
    type_: Type[T],
    default: str,
    text: str,
    *,
    in_file: bool = True,
    is_secret: bool = False,
    is_reloadable: bool = False,
) -> T:
    """Return a dataclass field for a row of the settings table. The field's default is the row's default, parsed."""
    row = Row(type=type_, default=default, help=text, in_file=in_file, is_secret=is_secret, is_reloadable=is_reloadable)
    value: T = field(default=type_.read(default), metadata={"row": row}, repr=not is_secret)
    return value


def rows_of(table: type[Any]) -> Mapping[str, Row]:
    """Return all rows of a dataclass whose fields were made by `setting`, keyed by the names of the settings."""
    found = {each.name: each.metadata["row"] for each in fields(table) if "row" in each.metadata}
    return {name: replace(row, name=name) for name, row in found.items()}


def option_name(name: str) -> str:
    """Return the command-line option for a setting."""
    return f"--{name.replace('_', '-')}"


def environment_name(name: str) -> str:
    """Return the name of the environment variable for a setting."""
    return f"WAYPOST_SERVE_{name.upper()}"
