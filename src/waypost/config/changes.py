"""Compares settings: which of them have changed, and which changes a running server can use after SIGHUP."""

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct

from waypost.config import tables
from waypost.config.settings import ROWS, Settings
from waypost.config.types import SELF_SIGNED

_TABLES_RELOADED = ("routes", "retention")
"""The fields of `Settings` with all tables of one kind that a running server can use after SIGHUP."""

_NAMES_IN_FILE = {"routes": "route", "faults": "fault"}
"""The names of tables in the settings file, keyed by the fields of `Settings` with the same tables."""


class Changes(Struct, frozen=True):
    """The differences between the settings of a running server and other settings."""

    reloadable: Sequence[str]
    """The names of changed settings, as in the settings file, that the server can use after SIGHUP."""
    need_restart: Sequence[str]
    """The names of changed settings for which the server must be restarted."""


def between(before: Settings, after: Settings) -> Changes:
    """Return the differences between two settings."""
    return of_digests(digests(before), digests(after))


def of_digests(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    """Return the differences between two settings that are given as their `digests`.

    A setting that only one of them has, because another version of Waypost runs, needs a restart.
    """
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return Changes(
        [name for name in changed if is_reloadable(name)], [name for name in changed if not is_reloadable(name)]
    )


def is_reloadable(name: str) -> bool:
    """Return whether a running server can use a new value of a setting, or of a table, after SIGHUP.

    The name is as in the settings file, such as `log_level`, `delivery.expire` or `route`.
    """
    of_delivery = name.removeprefix("delivery.")
    if of_delivery in tables.DELIVERY and of_delivery != name:
        return tables.DELIVERY[of_delivery].is_reloadable
    return ROWS[name].is_reloadable if name in ROWS else name in {_name(each) for each in _TABLES_RELOADED}


def reloaded(before: Settings, after: Settings) -> Settings:
    """Return the settings of a server that was started with `before` and has been told to use `after`. They differ from
    `before` only where a setting is reloadable.
    """
    new = {name: getattr(after, name) for name, row in ROWS.items() if row.is_reloadable}
    new |= {name: getattr(after, name) for name in _TABLES_RELOADED}
    of_delivery = {name: getattr(after.delivery, name) for name, key in tables.DELIVERY.items() if key.is_reloadable}
    return replace(before, **new, delivery=replace(before.delivery, **of_delivery))


def digests(settings: Settings) -> Mapping[str, str]:
    """Return a digest of each setting and table, keyed by its name in the settings file.

    Equal values have equal digests, also in other processes. The path of the settings file is not included, because its
    content is compared.
    """
    found = {name: getattr(settings, name) for name in ROWS if name != "config"}
    found |= {_name(name): getattr(settings, name) for name in ("routes", "retention", "faults")}
    found |= {f"delivery.{name}": getattr(settings.delivery, name) for name in tables.DELIVERY}
    return {name: hashlib.sha256(repr(_canonical(value)).encode()).hexdigest()[:16] for name, value in found.items()}


def _name(member: str) -> str:
    return _NAMES_IN_FILE.get(member, member)


def _canonical(value: Any) -> Any:
    """Return a value of which equal values have the same `repr` in all processes."""
    if isinstance(value, Path):
        return str(value if value == SELF_SIGNED else value.absolute())
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str | int | float | None):
        return str(value)
    if isinstance(value, AbstractSet):
        return sorted(_canonical(each) for each in value)
    if isinstance(value, Struct):
        return [_canonical(getattr(value, name)) for name in value.__struct_fields__]
    if is_dataclass(value):
        return [_canonical(getattr(value, each.name)) for each in fields(value)]
    if isinstance(value, Sequence):
        return [_canonical(each) for each in value]
    return str(value)
