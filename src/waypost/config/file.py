"""Reads the settings file that `waypost serve --config FILE` names. The file is in TOML. The module `tables` defines
the valid values of each key.

    hostname = "mail.example.com"       any setting of `waypost serve`, above all tables

    [[route]]                           where mail goes; the first route that matches wins
    match = "*@example.com"
    to = "smtp://127.0.0.1:2600"

    [delivery]                          how long to attempt deliveries, and which notices senders get
    expire = "5d"

    [[retention]]                       how long inboxes keep mail
    match = "*"
    age = "30d"

    [[fault]]                           for tests: which mail to refuse, defer, delay or cut off
    stage = "rcpt"
    action = "defer"

The error message for a mistake is one sentence with the file, the line, the table and the key. Paths in the file are
relative to the file's directory. Secrets stay out of the file: Waypost reads them from separate files, or from the
environment.
"""

import difflib
import json
import os
import re
import shlex
import stat
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from waypost.config.lines import line_of
from waypost.config.settings import ROWS
from waypost.config.tables import DELIVERY, FAULT, RETENTION, ROUTE, SECRETS, VIA, Delivery, Key, UnfitEntry
from waypost.config.types import SELF_SIGNED, BadSetting, Type, Unfit
from waypost.domain import errors
from waypost.domain.mail import fault_rules, routes
from waypost.domain.mail.fault_rules import FaultRule
from waypost.domain.mail.retention import Rule
from waypost.domain.mail.routes import Route
from waypost.host.private_files import UnsafeFile, refuse_replaceable


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile:
    """The contents of a settings file. The default values describe an empty settings file."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The settings of `waypost serve`, keyed by name. Each value is a string in the form used on the command line.
    Relative paths in the values are relative to the working directory."""
    routes: tuple[Route, ...] = ()
    delivery: Delivery = field(default_factory=Delivery)
    retention: tuple[Rule, ...] = ()
    faults: tuple[FaultRule, ...] = ()
    path: str = field(default="", compare=False)
    text: str = field(default="", compare=False, repr=False)

    def place(self, name: str) -> str:
        """Return the name of a setting, with its file and line, for error messages."""
        return f"{_place(self.path, self.text, (name,))}: `{name}`"


_NAMES = {"route": True, "delivery": False, "retention": True, "fault": True}
"""The names of the tables that a settings file may contain. A name is mapped to True if the file may contain several
tables with that name."""

_SETTINGS = {name: row for name, row in ROWS.items() if row.in_file}


def read(path: Path) -> SettingsFile:
    """Read a settings file, and the secrets to which it refers. Raises `BadSetting`."""
    try:
        refuse_replaceable(path)
        text = path.read_bytes().decode()
    except UnsafeFile as error:
        raise BadSetting(f"The settings file cannot be used: {error}", where=str(path)) from error
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise BadSetting(f"{path} is not UTF-8 text", where=str(path)) from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        end = f"(at line {text.count(chr(10)) + 1}, the end of the file)"
        reason = str(error).replace("(at end of document)", end)
        line = re.search(r"\(at (line [0-9]+)", reason)
        where = f"{path}, {line[1]}" if line else str(path)
        raise BadSetting(f"{path} is not valid TOML: {reason}", where=where) from error
    except RecursionError as error:
        raise BadSetting(f"{path} has arrays or tables nested too deeply", where=str(path)) from error
    except ValueError as error:  # a number with thousands of digits
        raise BadSetting(f"{path} has a number with too many digits", where=str(path)) from error
    if unusable := _unusable(found):
        raise BadSetting(f"{path} has {unusable}", where=str(path))
    return _Reader(str(path), text, path.parent).file(found)


def fault_rule(table: Mapping[str, Any]) -> FaultRule:
    """Return the fault rule described by a table that has the keys of `[[fault]]`. Raises `BadSetting`."""
    return _Reader("", "", Path()).fault(table)


def route(table: Mapping[str, Any]) -> Route:
    """Return the route described by a table that has the keys of `[[route]]`. Raises `BadSetting`."""
    return _Reader("", "", Path()).route(table)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one table of the settings file, and the tables inside it."""

    path: str
    """The path of the file; empty if the table is not from a file."""
    text: str
    directory: Path
    """The directory to which paths in the table are relative."""
    table: tuple[str | int, ...] = ()
    """The path to the table within the file: a sequence of table names and array indexes. Indexes are counted from
    0."""

    def file(self, given: Mapping[str, Any]) -> SettingsFile:
        """Parse the whole settings file, and return its contents."""
        found = self._spelled(given)
        for name, value in found.items():
            if name in DELIVERY:
                raise self.wrong(f"`{name}` must be below the line [delivery]", name)
            if name not in _SETTINGS and name not in _NAMES:
                raise self._unknown(name, [*_NAMES, *_SETTINGS], is_table=_is_table(value))
        tables = {name: self._tables(name, found.get(name)) for name in _NAMES}
        all_routes = tuple(reader.route(table) for reader, table in tables["route"])
        useless = routes.never_used(all_routes)
        if useless:
            never, because = (f"route {place + 1} ({all_routes[place].match})" for place in useless)
            raise self.wrong(
                f"{never} would never be used, because {because} comes first and matches all of its mail",
                "route",
                useless[0],
            )
        return SettingsFile(
            values={name: self._setting(name, value) for name, value in found.items() if name in _SETTINGS},
            routes=all_routes,
            delivery=next((reader.delivery(table) for reader, table in tables["delivery"]), Delivery()),
            retention=tuple(reader.rule(table) for reader, table in tables["retention"]),
            faults=tuple(reader.fault(table) for reader, table in tables["fault"]),
            path=self.path,
            text=self.text,
        )

    def route(self, given: Mapping[str, Any], keys: Mapping[str, Key] = ROUTE) -> Route:
        """Return the route that a `[[route]]` table describes."""
        found = self._keys(given, keys)
        secret = self._secret({name: found.pop(name) for name in SECRETS if name in found})
        try:
            return routes.checked(Route(**{"match": "*"} | found, secret=secret))
        except errors.Invalid as error:
            raise self.wrong(error.message) from error

    def delivery(self, given: Mapping[str, Any]) -> Delivery:
        """Return the settings in the `[delivery]` table."""
        found = self._keys(given, DELIVERY)
        if "bounces_via" in found:
            reader = self._inner("bounces_via")
            found["bounces_via"] = reader.route(found["bounces_via"], VIA)
            if found["bounces_via"].is_inbox:
                raise reader.wrong(
                    "`to` must be outside this server, whose own email addresses get notices anyway", "to"
                )
        delivery = Delivery(**found)
        if delivery.delay_warning and delivery.delay_warning >= delivery.expire:
            raise self.wrong(
                "`delay_warning` must be shorter than `expire`, or no warning would be sent", "delay_warning"
            )
        return delivery

    def rule(self, given: Mapping[str, Any]) -> Rule:
        """Return the rule that a `[[retention]]` table describes."""
        found = self._keys(given, RETENTION)
        if len(found) < 2:
            raise self.wrong("`age`, `size` or both must be given")
        return Rule(**found)

    def fault(self, given: Mapping[str, Any]) -> FaultRule:
        """Return the fault rule that a `[[fault]]` table describes."""
        try:
            return fault_rules.checked(FaultRule(**self._keys(given, FAULT)))
        except errors.Invalid as error:
            raise self.wrong(error.message) from error

    def wrong(self, sentence: str, *at: str | int) -> BadSetting:
        """Return an error about this table of the settings file. `at` is the path from this table to the wrong key or
        table.
        """
        place = [_place(self.path, self.text, (*self.table, *at))] if self.path else []
        where = [*place, *([self._title] if self.table else [])]
        return BadSetting(": ".join([*where, sentence]), where=": ".join(where))

    @property
    def _title(self) -> str:
        """The path of the table, for error messages."""
        named = (f" {each + 1}" if isinstance(each, int) else f".{each}" for each in self.table)
        return "".join(named).removeprefix(".")

    def _tables(self, name: str, found: Any) -> list[tuple["_Reader", Mapping[str, Any]]]:
        """Return all tables with a given name, each with its own reader."""
        if found is None:
            return []
        if _NAMES[name]:
            if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
                raise self.wrong(f"`{name}` must be written [[{name}]] above its keys, once for each table", name)
            return [(self._inner(name, place), each) for place, each in enumerate(found)]
        if not isinstance(found, dict):
            raise self.wrong(f"`{name}` must be written [{name}] above its keys, only once", name)
        return [(self._inner(name), found)]

    def _inner(self, *table: str | int) -> "_Reader":
        return replace(self, table=(*self.table, *table))

    def _keys(self, given: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
        """Check the keys of a table, and parse its values."""
        found = self._spelled(given)
        for name in found:
            if name in _SETTINGS and name not in keys and self.path:
                raise self.wrong(f"`{name}` is a setting of `waypost serve`, which must be above the first table", name)
            if name in {"secret", "password"} and "secret_file" in keys:
                raise self.wrong(f"`{name}`: the file may not have secrets; use `secret_file` or `secret_env`", name)
            if name not in keys:
                raise self._unknown(name, list(keys))
        for name, key in keys.items():
            if key.is_required and name not in found:
                raise self.wrong(f"`{name}` is missing")
        return {name: self._understood(name, value, keys[name].type) for name, value in found.items()}

    def _understood(self, name: str, value: Any, type_: Type[Any]) -> Any:
        try:
            return type_.read(value)
        except UnfitEntry as error:
            entry = f"its {_ordinal(error.place)}, {_shown(value[error.place - 1])}"
            raise self.wrong(f"`{name}` must be {type_.words}; {entry}, must be {error.words}", name) from error
        except Unfit as error:
            raise self.wrong(f"`{name}` must be {type_.words}, not {_shown(value)}", name) from error
        except errors.Invalid as error:
            raise self.wrong(f"`{name}`: {error.message}", name) from error

    def _spelled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the table with underscores instead of hyphens in its key names."""
        found: dict[str, Any] = {}
        for spelling, value in given.items():
            name = spelling.replace("-", "_")
            if name in found:
                raise self.wrong(f"`{name}` is given twice, with a hyphen and with an underscore", name)
            found[name] = value
        return found

    def _setting(self, name: str, value: Any) -> str:
        """Return the value of a setting as a string in the form used on the command line."""
        row = _SETTINGS[name]
        if isinstance(value, bool) and row.type.is_flag:
            return "yes" if value else "no"
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            several = "several values are one string, with commas"
            kind = "true or false" if row.type.is_flag else f"a string or a number; {several}"
            found = "" if row.is_secret else f", not {_shown(value)}"
            raise self.wrong(f"`{name}` must be {kind}{found}", name)
        return str(self.directory / value) if row.type.is_path and value not in {"", str(SELF_SIGNED)} else value

    def _secret(self, given: Mapping[str, str]) -> str:
        if len(given) > 1:
            raise self.wrong(
                f"{' and '.join(f'`{name}`' for name in given)} cannot be given together: a route has one secret",
                *list(given)[:1],
            )
        for name, value in given.items():
            secret = self._from_environment(value) if name == "secret_env" else self._from_file(name, value)
            if not secret or re.search(r"[\x00-\x1f\x7f]", secret):
                raise self.wrong(f"`{name}`: the secret in {value} must be exactly one line of text", name)
            return secret
        return ""

    def _from_environment(self, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):  # not quoted, because it may be the secret
            raise self.wrong("`secret_env` must be the name of an environment variable", "secret_env")
        if name not in os.environ:
            raise self.wrong(f"`secret_env`: {name} is not in the environment", "secret_env")
        return os.environ[name]

    def _from_file(self, name: str, value: str) -> str:
        path = self.directory / value
        try:
            refuse_replaceable(path)
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                octets = file.read()
        except UnsafeFile as error:
            raise self.wrong(f"`{name}`: {error}", name) from error
        except OSError as error:
            raise self.wrong(f"`{name}`: {path} cannot be read: {error.strerror}", name) from error
        if mode & 0o077:
            repair = f"chmod 600 {shlex.quote(str(path))}"
            raise self.wrong(f"`{name}`: other users can access {path} (mode {mode:04o}). Run: {repair}", name)
        return octets.decode(errors="replace").removesuffix("\n").removesuffix("\r")

    def _unknown(self, name: str, known: list[str], *, is_table: bool = False) -> BadSetting:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean `{nearest[0]}`?" if nearest else f"the valid names are {', '.join(known)}"
        return self.wrong(f"there is no {'table' if is_table else 'key'} `{name}`; {hint}", name)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _ordinal(number: int) -> str:
    """Return a position in a list, counted from 1, as an ordinal number such as "2nd"."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in {11, 12, 13} else "th"
    return f"{number}{ending}"


def _unusable(value: Any) -> str:
    """Describe the first value that is not allowed in any setting: a number of more than 64 bits, or a string with a
    NUL character.

    The function also checks the elements of arrays and tables. If all values are allowed, the function returns an empty
    string.
    """
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of more than 64 bits"
    if isinstance(value, str) and "\0" in value:
        return "a NUL character in a string"
    inside: Iterable[Any] = value if isinstance(value, list) else ()
    if isinstance(value, dict):
        inside = (*value, *value.values())
    return next(filter(None, map(_unusable, inside)), "")


def _shown(value: Any) -> str:
    """Return a value in TOML syntax, for error messages. For a table, a date or a time, return only the kind of the
    value.
    """
    if isinstance(value, bool | int | float | str):
        # A URL may contain a password or another secret.
        shown = routes.shown(value) if isinstance(value, str) and "://" in value else value
        text = json.dumps(shown, ensure_ascii=False)
        return text if len(text) <= 80 else f"{text[:80]}…"
    if isinstance(value, list):
        return f"[{', '.join(_shown(each) for each in value[:10])}]"
    return "a table" if isinstance(value, dict) else "a date or a time"


def _place(path: str, text: str, at: Sequence[str | int]) -> str:
    """Return the file's path and the line of a key or table in the file, for error messages."""
    prefixes = (at[:end] for end in range(len(at), 0, -1))
    line = next(filter(None, (line_of(text, prefix) for prefix in prefixes)), None)
    return f"{path}, line {line}" if line else path
