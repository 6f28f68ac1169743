"""How columns store moments, flags, words of an enumeration, and JSON."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any

from waypost.domain.mail.messages import NO_DSN, Dsn, RecipientDsn
from waypost.store.sql.columns import Kind


def to_milliseconds(moment: datetime) -> int:
    """A moment as it is stored. `from_milliseconds` gives the same moment back."""
    return round(moment.timestamp() * 1000)


def from_milliseconds(milliseconds: int) -> datetime:
    """A stored moment, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


_SHORT = 1_000
"""JSON up to this many characters is decoded each time; longer JSON once for all deliveries of a message."""


def _dsn(text: str) -> Dsn:
    if not text:
        return NO_DSN
    found = json.loads(text)
    recipients = tuple(RecipientDsn(tuple(notify), orcpt) for notify, orcpt in found["recipients"])
    return Dsn(found["ret"], found["envid"], recipients)


_long_texts = lru_cache(maxsize=8)(lambda text: tuple(json.loads(text)))
_long_dsn = lru_cache(maxsize=8)(_dsn)


def _read_texts(text: str) -> tuple[str, ...]:
    return _long_texts(text) if len(text) > _SHORT else tuple(json.loads(text))


def _read_dsn(text: str) -> Dsn:
    return _long_dsn(text) if len(text) > _SHORT else _dsn(text)


def _write_dsn(dsn: Dsn) -> str:
    """DSN parameters as JSON; empty without any, as in nearly all mail."""
    if dsn == NO_DSN:
        return ""
    recipients = [[recipient.notify, recipient.orcpt] for recipient in dsn.recipients]
    return json.dumps({"ret": dsn.ret, "envid": dsn.envid, "recipients": recipients})


def or_none(kind: Kind) -> Kind:
    """The same kind of column, which may also have no value."""
    return Kind(_unless_none(kind.read), _unless_none(kind.write))


def _unless_none(function: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return function and (lambda value: None if value is None else function(value))


def one_of(words: type[StrEnum]) -> Kind:
    """One of the words of an enumeration."""
    return Kind(words, attrgetter("value"))


FLAG = Kind(bool)
"""A truth value. SQLite has numbers for them."""

MOMENT = Kind(from_milliseconds, to_milliseconds)
"""Milliseconds since 1970 in UTC."""

JSON = Kind(json.loads, json.dumps)

TEXTS = Kind(_read_texts, json.dumps)
"""A JSON list of texts."""

DSN = Kind(_read_dsn, _write_dsn)
"""The DSN parameters of a sender."""
