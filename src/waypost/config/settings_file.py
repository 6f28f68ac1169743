"""The settings file of `waypost serve --config FILE`, which is TOML. What each key takes is in `settings_keys`.

    hostname = "mail.example.com"       any setting of `waypost serve`, above all tables

    [[route]]                           where mail goes; the first that matches wins
    match = "*@example.com"
    to = "smtp://127.0.0.1:2600"

    [delivery]                          how long it is tried, and what its senders are told
    expire = "5d"

    [[retention]]                       how long inboxes keep it
    match = "*"
    age = "30d"

A mistake is one sentence with the file, the table and the key. Paths in the file are seen from where it is. No secret
is in it: it is read from a file of its own, or from the environment.
"""

import difflib
import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from waypost.config.settings import SELF_SIGNED, BadSetting, Settings
from waypost.config.settings_keys import DELIVERY, RETENTION, ROUTE, SECRETS, VIA, Key, Kind, Unfit, UnfitEntry
from waypost.domain import errors
from waypost.domain.dsn.notices import Bounces
from waypost.domain.mail import routes
from waypost.domain.mail.delivery import Policy
from waypost.domain.mail.retention import Rule
from waypost.domain.mail.routes import Route
from waypost.host.private_files import UnsafeFile, refuse_replaceable


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """How mail is sent on. Made by hand it holds the defaults."""

    policy: Policy = field(default_factory=Policy)
    bounces: Bounces = Bounces.AUTHENTICATED
    bounces_via: Route | None = None
    confirm_outside: bool = False
    delay_warning: timedelta | None = None
    srs_domain: str = ""
    own_domains: frozenset[str] = frozenset()
    connections: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile:
    """All that a settings file says. Made by hand it is empty."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Settings of `waypost serve`, by their names in `Settings`, as their options take them."""
    routes: tuple[Route, ...] = ()
    delivery: DeliverySettings = field(default_factory=DeliverySettings)
    retention: tuple[Rule, ...] = ()


_NAMES = {"route": True, "delivery": False, "retention": True}
"""The tables of the file, and whether there may be several."""

_SETTINGS = {setting.name: str(setting.default) for setting in fields(Settings) if setting.name != "config"}

_PATHS = {"data", "tls_certificate", "tls_key", "tls_clients"}
"""Settings that are paths."""


def read(path: Path) -> SettingsFile:
    """Read a settings file, and the secrets that it names. Raises `BadSetting`."""
    try:
        refuse_replaceable(path)
        text = path.read_bytes().decode()
    except UnsafeFile as error:
        raise BadSetting(f"The settings file is not used: {error}") from error
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadSetting(f"{path} is no text in UTF-8") from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        end = f"(at line {text.count(chr(10)) + 1}, the end of the file)"
        raise BadSetting(f"{path} is no TOML: {str(error).replace('(at end of document)', end)}") from error
    return _Reader(str(path), path.parent).file(found)


def route(table: Mapping[str, Any]) -> Route:
    """The route that a table with the keys of `[[route]]` describes. Raises `BadSetting`."""
    return _Reader("", Path()).route(table)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one table, and those in it."""

    where: str
    """The file, and the table in it, for people."""
    directory: Path
    """From where paths are seen."""

    def file(self, given: Mapping[str, Any]) -> SettingsFile:
        """The whole file."""
        found = self._spelled(given)
        for name, value in found.items():
            if name in DELIVERY:
                raise self.wrong(f"`{name}` belongs to [delivery], below that line")
            if name not in _SETTINGS and name not in _NAMES:
                raise self._unknown(name, [*_NAMES, *_SETTINGS], is_table=_is_table(value))
        tables = {name: self._tables(name, found.get(name)) for name in _NAMES}
        all_routes = tuple(reader.route(table) for reader, table in tables["route"])
        useless = routes.never_used(all_routes)
        if useless:
            never, because = (f"route {place + 1} ({all_routes[place].match})" for place in useless)
            raise self.wrong(f"{never} would never be used: {because} comes before it, and takes all of that mail")
        return SettingsFile(
            values={name: self._setting(name, value) for name, value in found.items() if name in _SETTINGS},
            routes=all_routes,
            delivery=next((reader.delivery(table) for reader, table in tables["delivery"]), DeliverySettings()),
            retention=tuple(reader.rule(table) for reader, table in tables["retention"]),
        )

    def route(self, given: Mapping[str, Any], keys: Mapping[str, Key] = ROUTE) -> Route:
        """One `[[route]]`."""
        found = self._keys(given, keys)
        secret = self._secret({name: found.pop(name) for name in SECRETS if name in found})
        try:
            return routes.checked(Route(**{"match": "*"} | found, secret=secret))
        except errors.Invalid as error:
            raise self.wrong(error.message) from error

    def delivery(self, given: Mapping[str, Any]) -> DeliverySettings:
        """The `[delivery]`."""
        found = self._keys(given, DELIVERY)
        found["policy"] = Policy(**{name: found.pop(name) for name in ("retry_schedule", "expire") if name in found})
        if "bounces_via" in found:
            reader = self._inner("bounces_via", ".")
            found["bounces_via"] = reader.route(found["bounces_via"], VIA)
            if found["bounces_via"].is_inbox:
                raise reader.wrong("`to` must lead away from here: senders with an email address here are told anyway")
        settings = DeliverySettings(**found)
        if settings.delay_warning and settings.delay_warning >= settings.policy.expire:
            raise self.wrong("`delay_warning` must be shorter than `expire`, or nobody would be warned")
        return settings

    def rule(self, given: Mapping[str, Any]) -> Rule:
        """One `[[retention]]`."""
        found = self._keys(given, RETENTION)
        if len(found) < 2:
            raise self.wrong("`age` or `size` must be there, or both")
        return Rule(**found)

    def wrong(self, sentence: str) -> BadSetting:
        """A mistake in this table."""
        return BadSetting(f"{self.where}: {sentence}" if self.where else sentence)

    def _tables(self, name: str, found: Any) -> list[tuple["_Reader", Mapping[str, Any]]]:
        """The tables of a name, each with its reader."""
        if found is None:
            return []
        if _NAMES[name]:
            if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
                raise self.wrong(f"`{name}` must be written [[{name}]] above its keys: there may be several")
            return [(self._inner(f"{name} {number}"), each) for number, each in enumerate(found, 1)]
        if not isinstance(found, dict):
            raise self.wrong(f"`{name}` must be written [{name}] above its keys, once")
        return [(self._inner(name), found)]

    def _inner(self, name: str, separator: str = ": ") -> "_Reader":
        return _Reader(f"{self.where}{separator}{name}", self.directory)

    def _keys(self, given: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
        """What a table says, each value understood."""
        found = self._spelled(given)
        for name in found:
            if name in _SETTINGS and name not in keys and self.where:
                raise self.wrong(f"`{name}` is a setting of `waypost serve`, which must be above the first table")
            if name in {"secret", "password"} and "secret_file" in keys:
                raise self.wrong(f"`{name}`: no secret is in the file; use `secret_file` or `secret_env`")
            if name not in keys:
                raise self._unknown(name, list(keys))
        for name, key in keys.items():
            if key.is_required and name not in found:
                raise self.wrong(f"`{name}` is missing")
        return {name: self._understood(name, value, keys[name].kind) for name, value in found.items()}

    def _understood(self, name: str, value: Any, kind: Kind) -> Any:
        try:
            return kind.read(value)
        except UnfitEntry as error:
            entry = f"its {_ordinal(error.place)}, {_shown(value[error.place - 1])}"
            raise self.wrong(f"`{name}` must be {kind.words}; {entry}, must be {error.words}") from error
        except Unfit as error:
            raise self.wrong(f"`{name}` must be {kind.words}, not {_shown(value)}") from error
        except errors.Invalid as error:
            raise self.wrong(f"`{name}`: {error.message}") from error

    def _spelled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The same with underscores for hyphens in names."""
        found: dict[str, Any] = {}
        for spelling, value in given.items():
            name = spelling.replace("-", "_")
            if name in found:
                raise self.wrong(f"`{name}` is there twice, with a hyphen and with an underscore")
            found[name] = value
        return found

    def _setting(self, name: str, value: Any) -> str:
        """A setting of `waypost serve`, as its option takes it."""
        takes_flag = _SETTINGS[name] in {"yes", "no"}
        if isinstance(value, bool) and takes_flag:
            return "yes" if value else "no"
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            kind = "true or false" if takes_flag else "a string or a number; several are one string, with commas"
            found = "" if name == "database" else f", not {_shown(value)}"  # which may have a password in it
            raise self.wrong(f"`{name}` must be {kind}{found}")
        return str(self.directory / value) if name in _PATHS and value not in {"", SELF_SIGNED} else value

    def _secret(self, given: Mapping[str, str]) -> str:
        if len(given) > 1:
            raise self.wrong(f"{' and '.join(f'`{name}`' for name in given)} are two places for one secret: say one")
        for name, value in given.items():
            secret = self._from_environment(value) if name == "secret_env" else self._from_file(name, value)
            if not secret or re.search(r"[\x00-\x1f\x7f]", secret):
                raise self.wrong(f"`{name}` must lead to one line of text, the secret; that of {value} is none")
            return secret
        return ""

    def _from_environment(self, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):  # it is not told, because it may be the secret itself
            raise self.wrong("`secret_env` must be the name of an environment variable, and is none")
        if name not in os.environ:
            raise self.wrong(f"`secret_env`: there is no {name} in the environment")
        return os.environ[name]

    def _from_file(self, name: str, value: str) -> str:
        path = self.directory / value
        try:
            refuse_replaceable(path)
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                octets = file.read()
        except UnsafeFile as error:
            raise self.wrong(f"`{name}`: {error}") from error
        except OSError as error:
            raise self.wrong(f"`{name}`: {path} cannot be read: {error.strerror}") from error
        if mode & 0o077:
            raise self.wrong(f"`{name}`: others may read {path} (mode {mode:04o}). Make it yours alone: chmod 600")
        return octets.decode(errors="replace").removesuffix("\n").removesuffix("\r")

    def _unknown(self, name: str, known: list[str], *, is_table: bool = False) -> BadSetting:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"the nearest is `{nearest[0]}`" if nearest else f"known are {', '.join(known)}"
        return self.wrong(f"there is no {'table' if is_table else 'key'} `{name}`; {hint}")


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _ordinal(number: int) -> str:
    """A place in a list, counted from 1."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in {11, 12, 13} else "th"
    return f"{number}{ending}"


def _shown(value: Any) -> str:
    """A value as it stands in the file, or what it is."""
    if isinstance(value, bool | int | float | str):
        # A URL may have a password or another secret in it.
        told = routes.shown(value) if isinstance(value, str) and "://" in value else value
        text = json.dumps(told, ensure_ascii=False)
        return text if len(text) <= 80 else f"{text[:80]}…"
    if isinstance(value, list):
        return f"[{', '.join(_shown(each) for each in value[:10])}]"
    return "a table" if isinstance(value, dict) else "a date or a time"
