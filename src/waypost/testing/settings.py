"""Turns settings that a test gives as keyword arguments into options and a settings file for `waypost serve`."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from waypost.domain import durations

BY_DEFAULT: Mapping[str, Any] = {"clock": "virtual", "testing": True}
"""The settings of a server that the kit starts, unless a test gives others."""

TABLES = {"route": list, "retention": list, "fault": list, "delivery": dict}
"""The tables of a settings file, which have no option, with the type of their value in Python."""

REFUSED = {
    "data": "The kit chooses the data directory. `waypost.testing.Server` has one that you choose.",
    "log": "`log` is no setting. Use `Waypost(log=…)`, or the option `--waypost-log` of pytest.",
}
"""What a test cannot set, with a sentence that says what to do instead."""


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a server. Raises `TypeError` for a value of the wrong type, and for settings that the kit
    chooses itself.
    """
    for name, value in settings.items():
        if name in REFUSED:
            raise TypeError(REFUSED[name])
        wanted = TABLES.get(name, (str, int, timedelta))
        if not isinstance(value, wanted):
            raise TypeError(f"The setting {name} cannot be {value!r}.")
    tables = [name for name in settings if name in TABLES]
    if "config" in settings and tables:
        raise TypeError(f"Write {', '.join(tables)} into the settings file {settings['config']}, or omit `config`.")
    return {**BY_DEFAULT, **settings}


def options(settings: Mapping[str, Any]) -> list[str]:
    """Return the command-line options for all settings that have an option."""
    return [word for name, value in words(settings).items() for word in (f"--{name.replace('_', '-')}", value)]


def words(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of all settings that have an option, as a user would write them, by the names of settings."""
    return {name: _word(value) for name, value in settings.items() if name not in TABLES}


def file_text(settings: Mapping[str, Any]) -> str:
    """Return the text of a settings file with the tables; empty if there are none.

    The keys and tables are those of the settings file, such as `delivery={"expire": "1d"}` and
    `route=[{"match": "*", "to": "smtp://127.0.0.1:25"}]`.
    """
    lines: list[str] = []
    for name, value in settings.items():
        if name in TABLES:
            heading = f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
            for table in value if isinstance(value, list) else [value]:
                lines += [heading, *(f"{_key(key)} = {_toml(each)}" for key, each in table.items()), ""]
    return "\n".join(lines)


def key(settings: Mapping[str, Any]) -> str:
    """Return a string that is the same for equal settings."""
    return json.dumps(settings, sort_keys=True, default=str)


def duration(value: timedelta) -> str:
    """Return a duration as a user would write it. Raises `ValueError` for a duration with a part of a second."""
    if value % timedelta(seconds=1):
        raise ValueError(f"Durations are whole seconds, not {value}.")
    return durations.written(value)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return duration(value) if isinstance(value, timedelta) else str(value)


def _toml(value: Any) -> str:
    """Return a value as TOML. A JSON string is a TOML string too, except for one character and its escape."""
    if isinstance(value, timedelta):
        return json.dumps(_word(value))
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {_toml(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
