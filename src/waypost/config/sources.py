"""Reads the settings: the command line overrides the environment, and that the settings file."""

from collections.abc import Mapping

from waypost.config.file import SettingsFile
from waypost.config.rows import Row
from waypost.config.settings import ROWS, Contradiction, Settings
from waypost.config.types import BadSetting, Unfit, refusal


def read(options: Mapping[str, str], environment: Mapping[str, str], file: SettingsFile) -> Settings:
    """The settings from options, environment and file; all others have their defaults.

    `options` are those that were given on the command line, by the names of the settings. An empty variable counts as
    not set. Raises `BadSetting`.
    """
    values = {}
    for name, row in ROWS.items():
        text = _text(row, options, environment, file)
        if text is not None:
            try:
                values[name] = row.type.read(text)
            except Unfit as error:
                place = _place(row, options, environment, file)
                raise refusal(row.type, text, error, place, is_secret=row.is_secret) from error
    try:
        return Settings(**values, routes=file.routes, delivery=file.delivery, retention=file.retention)
    except Contradiction as error:
        raise BadSetting(f"{_place(ROWS[error.name], options, environment, file)} {error.reason}") from error


def from_options(**options: str) -> Settings:
    """The settings of a server that is started with these options alone.

    Raises `BadSetting`, and `KeyError` for a name that no setting has.
    """
    if unknown := options.keys() - ROWS.keys():
        raise KeyError(*sorted(unknown))
    return read(options, {}, SettingsFile())


def check(name: str, text: str) -> None:
    """Raise `BadSetting` for a text that a setting cannot have, for commands that take one of them as an option."""
    from_options(**{name: text})


def _text(row: Row, options: Mapping[str, str], environment: Mapping[str, str], file: SettingsFile) -> str | None:
    """The text of a setting; None if it is not given."""
    if row.name in options:
        return options[row.name]
    return environment.get(row.variable) or file.values.get(row.name)


def _place(row: Row, options: Mapping[str, str], environment: Mapping[str, str], file: SettingsFile) -> str:
    """The source of a setting, for people."""
    if row.name in options:
        return row.option
    return row.variable if environment.get(row.variable) else file.place(row.name)
