"""The options of the log: which events it contains, in which format, and where the lines go."""

from enum import StrEnum
from pathlib import Path

from msgspec import Struct


class Level(StrEnum):
    """The level of an event in the log."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Format(StrEnum):
    """The format of the log's lines."""

    AUTO = "auto"
    """Text on a terminal, and JSON otherwise."""
    JSON = "json"
    TEXT = "text"


class LogOptions(Struct, frozen=True, kw_only=True):
    """The options of one log."""

    level: Level = Level.INFO
    """The least level of the events in the log."""
    format: Format = Format.AUTO
    file: Path | None = None
    """The file to which the lines are appended; None for standard error."""
