"""The conversions between stored values and Python values, for times, flags, enumerations and JSON."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from waypost.domain.mail.messages import NO_DSN, Dsn, RecipientDsn
from waypost.store.sql.columns import Kind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_milliseconds(moment: datetime) -> int:
    """Convert a time to the stored form: milliseconds since 1970-01-01 UTC. `from_milliseconds` is the inverse."""
    return round(moment.timestamp() * 1000)


def from_milliseconds(milliseconds: int) -> datetime:
    """Convert a stored time in milliseconds since 1970 to a `datetime` in UTC."""
    return _EPOCH + milliseconds * _MILLISECOND  # twice as fast as `fromtimestamp`


_encode = msgspec.json.Encoder().encode


def to_json(value: Any) -> str:
    """Encode a value as JSON. The msgspec library is twenty times as fast as `json.dumps`, but rejects unpaired
    surrogates. Therefore, `json.dumps` encodes the values that contain unpaired surrogates.
    """
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value)


_SHORT = 1_000
"""The maximum length, in characters, of a JSON text that is decoded each time it is read. The decoded values of longer
texts are cached, because otherwise the same text would be decoded again for each delivery of a message."""


def _dsn(text: str) -> Dsn:
    if not text:
        return NO_DSN
    found = json.loads(text)
    recipients = tuple(RecipientDsn(tuple(notify), orcpt) for notify, orcpt in found["recipients"])
    return Dsn(found["ret"], found["envid"], recipients)


_long_texts = lru_cache(maxsize=8)(lambda text: tuple(json.loads(text)))
_long_dsn = lru_cache(maxsize=8)(_dsn)


_decode_texts = msgspec.json.Decoder(tuple[str, ...]).decode


def _read_texts(text: str) -> tuple[str, ...]:
    if len(text) > _SHORT:
        return _long_texts(text)
    try:
        return _decode_texts(text)
    except msgspec.DecodeError:  # an unpaired surrogate, as in `to_json`
        return tuple(json.loads(text))


def _read_dsn(text: str) -> Dsn:
    return _long_dsn(text) if len(text) > _SHORT else _dsn(text)


def _write_dsn(dsn: Dsn) -> str:
    """Encode DSN parameters as JSON. Return an empty string if there are no DSN parameters, which is the case for
    nearly all messages.
    """
    if dsn == NO_DSN:
        return ""
    recipients = [[recipient.notify, recipient.orcpt] for recipient in dsn.recipients]
    return to_json({"ret": dsn.ret, "envid": dsn.envid, "recipients": recipients})


def or_none(kind: Kind) -> Kind:
    """Return a version of the conversion `kind` for a column that may be NULL. NULL is converted to None."""
    return Kind(_unless_none(kind.read), _unless_none(kind.write))


def _unless_none(function: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    return function and (lambda value: None if value is None else function(value))


def one_of(words: type[StrEnum]) -> Kind:
    """Return the conversion for a column that stores a member of an enumeration."""
    return Kind(words, attrgetter("_value_"))  # the property `value` takes ten times as long


FLAG = Kind(bool)
"""The conversion for a Boolean column, which SQLite stores as a number."""

MOMENT = Kind(from_milliseconds, to_milliseconds)
"""The conversion for a time, which is stored as milliseconds since 1970-01-01 UTC."""

JSON = Kind(json.loads, to_json)

TEXTS = Kind(_read_texts, to_json)
"""The conversion for a list of strings, which is stored as JSON."""

DSN = Kind(_read_dsn, _write_dsn)
"""The conversion for the DSN parameters of a message (RFC 3461), which are stored as JSON."""
