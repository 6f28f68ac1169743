"""Reads the settings. The command line overrides the environment, and the environment overrides the settings file."""

from collections.abc import Mapping

from waypost.config.file import SettingsFile
from waypost.config.rows import Row
from waypost.config.settings import ROWS, Contradiction, Settings
from waypost.config.types import BadSetting, Unfit, refusal


def read(options: Mapping[str, str], environment: Mapping[str, str], file: SettingsFile) -> Settings:
    """Return the settings from the command-line options, the environment and the settings file. A setting without a
    value in these sources has its default value.

    `options` maps the names of settings to their values on the command line. An empty environment variable is
    treated as not set. Raises `BadSetting`.
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
        return Settings(
            **values, routes=file.routes, delivery=file.delivery, retention=file.retention, faults=file.faults
        )
    except Contradiction as error:
        place = _place(ROWS[error.name], options, environment, file)
        raise BadSetting(f"{place} {error.reason}", where=place) from error


def from_options(**options: str) -> Settings:
    """Return the settings of a server that is started with only these options.

    Raises `BadSetting` for an invalid value, and `KeyError` for an unknown name.
    """
    if unknown := options.keys() - ROWS.keys():
        raise KeyError(*sorted(unknown))
    return read(options, {}, SettingsFile())


def check(name: str, text: str) -> None:
    """Raise `BadSetting` if a string is not valid for a setting. Commands use this function to check their own
    options.
    """
    from_options(**{name: text})


def _text(row: Row, options: Mapping[str, str], environment: Mapping[str, str], file: SettingsFile) -> str | None:
    """Return the value of a setting as a string, or None if the setting is not given."""
    if row.name in options:
        return options[row.name]
    return environment.get(row.variable) or file.values.get(row.name)


def _place(row: Row, options: Mapping[str, str], environment: Mapping[str, str], file: SettingsFile) -> str:
    """Return the source of a setting's value, for error messages: an option, a variable, or a line of the file."""
    if row.name in options:
        return row.option
    return row.variable if environment.get(row.variable) else file.place(row.name)
