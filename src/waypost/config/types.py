"""The types of settings. Each type parses a string once, into a value that the program can use directly."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from waypost.domain import durations
from waypost.domain.directory import addresses
from waypost.domain.directory.addresses import domain_key
from waypost.domain.directory.partitions import is_region
from waypost.domain.errors import Invalid

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
E = TypeVar("E", bound=StrEnum)
C = TypeVar("C", bound=Collection[Any])


class BadSetting(Exception):
    """A setting has an invalid value. The message names the setting and its source, and describes a valid value."""

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(message)
        self.where = where
        """The setting and its source, such as a line of the settings file, without the value, which may be secret."""


class Unfit(Exception):
    """A value is not valid for the type of its setting."""

    def __init__(self, entry: str | None = None, reason: str = "") -> None:
        """If the value is a list, `entry` is the invalid element. `reason` explains the mistake."""
        super().__init__(entry, reason)
        self.entry, self.reason = entry, reason


class Type(Struct, Generic[T_co], frozen=True):
    """The type of a setting."""

    words: str
    """A description of valid values, such as "a number from 1 to 10"."""
    read: Callable[[Any], T_co]
    """Parses a value. Raises `Unfit` for an invalid value, or `errors.Invalid` if the error needs its own message."""
    is_flag: bool = False
    """Whether the setting is a flag: `yes` or `no` on the command line, and `true` or `false` in a settings file."""
    is_path: bool = False
    """Whether the value is a path. In a settings file, a path is relative to the file's directory."""


class Endpoint(NamedTuple):
    """A host and a port to listen on, or to connect to."""

    host: str
    """A host name or an IP address, without brackets."""
    port: int

    def __str__(self) -> str:
        """Return HOST:PORT, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect to the endpoint."""
        return ip_address(self.host).is_loopback if _is_address(self.host) else self.host == "localhost"


Network = IPv4Network | IPv6Network

LONGEST = timedelta(days=3650)
"""The longest duration that a setting can have."""

SELF_SIGNED = Path("self-signed")
"""If `--tls-certificate` has this value, the server makes a certificate in the data directory."""

DNS_PORT = 53

_HOST_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}", re.ASCII)
"""A host name. Underscores are allowed, because the names of containers can have underscores."""

_OWN_NAME = re.compile(r"([A-Za-z0-9-][A-Za-z0-9.-]{0,254})?")

_ACCOUNT = re.compile("[0-9]{12}")

_OCTETS = {None: 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def whole_number(least: int, most: int, *, unit: str = "", times: int = 1) -> Type[int]:
    """Return a type that accepts whole numbers from `least` to `most`. The parsed value is the operator's number
    multiplied by `times`.
    """

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not least <= int(text) <= most:
            raise Unfit
        return int(text) * times

    return Type(f"a number {f'of {unit} ' if unit else ''}from {least} to {most}", read)


def number_or_auto(most: int, auto: Callable[[], int]) -> Type[int]:
    """Return a type that accepts a whole number from 1 to `most`, or the word `auto`, which stands for the result of
    `auto`.
    """
    number = whole_number(1, most)

    def read(text: str) -> int:
        return min(auto(), most) if text == "auto" else number.read(text)

    return Type(f"{number.words}, or auto", read)


def choice(choices: Mapping[str, T]) -> Type[T]:
    """Return a type that accepts the words in `choices`. Each word stands for the value to which `choices` maps it."""

    def read(text: str) -> T:
        if text not in choices:
            raise Unfit
        return choices[text]

    *first, last = choices
    return Type(f"{', '.join(first)} or {last}", read)


def or_off(kind: Type[T]) -> Type[T | None]:
    """Return a type that also accepts the word `off`, which stands for None."""
    return Type(f"{kind.words}, or off", lambda text: None if text == "off" else kind.read(text))


def one_of(members: type[E]) -> Type[E]:
    """Return a type that accepts the members of an enumeration."""
    return choice({str(member): member for member in members})


def some_of(members: type[E]) -> Type[frozenset[E]]:
    """Return a type that accepts one or more members of an enumeration, separated by commas."""
    words = f"{', '.join(members)}, or several with commas"
    return at_least_one(several(one_of(members).read, words, frozenset))


def duration(most: timedelta = LONGEST, *, example: str = "7d", empty: timedelta | None = None) -> Type[timedelta]:
    """Return a type that accepts durations longer than zero. An empty string stands for the duration `empty`; if
    `empty` is None, an empty string is invalid.
    """

    def read(text: str) -> timedelta:
        if not text and empty is not None:
            return empty
        found = durations.parse(text)
        if not found or found > most:
            raise Unfit
        return found

    largest = durations.written(most)
    return Type(f"a number with d, h, m or s, as in {example}, more than 0 and at most {largest}", read)


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,18})|([0-9]{1,9})(KiB|MiB|GiB)", text, re.ASCII)
    if not match:
        raise Unfit
    return int(match[1] or match[2]) * _OCTETS[match[3]]


def several(
    one: Callable[[str], T], words: str, into: Callable[[Iterable[T]], Any], *, skips_empty: bool = False
) -> Type[Any]:
    """Return a type that accepts a list of values, separated by commas. `one` parses each value.

    An empty string means an empty list. If `skips_empty` is true, the list may have empty elements, which are ignored.
    """

    def read(text: str) -> Any:
        entries = [part.strip() for part in text.split(",")] if text else []
        return into([entry(each) for each in entries if each or not skips_empty])

    def entry(text: str) -> T:
        try:
            return one(text)
        except Unfit as error:
            raise Unfit(text, error.reason) from error

    return Type(words, read)


def at_least_one(type_: Type[C]) -> Type[C]:
    """Return a list type like `type_` that requires at least one element."""

    def read(text: str) -> C:
        found = type_.read(text)
        if not found:
            raise Unfit
        return found

    return Type(type_.words, read)


def all_or(type_: Type[frozenset[str]]) -> Type[frozenset[str]]:
    """Return a type like `type_` that also accepts an asterisk, which stands for all values."""
    return Type(f"{type_.words}, or * for all", lambda text: frozenset({"*"}) if text == "*" else type_.read(text))


def _endpoint(text: str) -> Endpoint:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise Unfit
    return Endpoint(host, int(port))


def _collector(text: str) -> str:
    try:
        url = urlsplit(text)
        has_host = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError as error:
        raise Unfit from error
    if text and (url.scheme not in {"http", "https"} or not has_host or "@" in url.netloc or url.fragment):
        raise Unfit
    return url._replace(path="/v1/traces").geturl() if text and url.path in {"", "/"} else text


def _share(text: str) -> float:
    if not re.fullmatch(r"1|1\.0{1,9}|0\.[0-9]{1,9}", text, re.ASCII) or not float(text):
        raise Unfit
    return float(text)


def _address(text: str) -> str:
    try:
        return addresses.parse(text).text if text else ""
    except Invalid as error:
        raise Unfit from error


def _resolver(text: str) -> Endpoint:
    found = Endpoint(text, DNS_PORT) if _is_address(text) else _endpoint(text)
    if not _is_address(found.host):
        raise Unfit
    return found


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _network(text: str) -> Network:
    with suppress(ValueError):
        return ip_network(text)
    try:
        meant = ip_network(text, strict=False)
    except ValueError as error:
        raise Unfit(text) from error
    raise Unfit(text, f"did you mean {meant}?")


def _domain(text: str) -> str:
    try:
        return domain_key(text)
    except Invalid as error:
        raise Unfit from error


def _host_name(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not _HOST_NAME.fullmatch(name):
        raise Unfit
    return name


def _own_name(text: str) -> str:
    if not _OWN_NAME.fullmatch(text):
        raise Unfit
    return text


def _account(text: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise Unfit
    return text


def _region(text: str) -> str:
    if not is_region(text):
        raise Unfit
    return text


def _database(url: str) -> str:
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    # If a password contains an unescaped at sign or slash, libpq reads part of the password as the host.
    if url and (scheme not in {"postgresql", "postgres"} or authority.count("@") > 1 or "@" in path.partition("?")[0]):
        raise Unfit
    return url


FLAG = Type("yes or no", choice({"yes": True, "no": False}).read, is_flag=True)
DURATION = duration()
SIZE = Type("a number with KiB, MiB or GiB, as in 256MiB, or a number of bytes", _size)
DIRECTORY = Type("a directory", Path, is_path=True)
FILE: Type[Path | None] = Type("a file", lambda text: Path(text) if text else None, is_path=True)
COLLECTOR = Type(
    "a URL such as http://127.0.0.1:4318, without a user; give credentials in OTEL_EXPORTER_OTLP_HEADERS", _collector
)
SHARE = Type("a number more than 0 and at most 1, as in 0.25", _share)
ADDRESS = Type("an email address, as in probe@example.com", _address)
ENDPOINT = Type("HOST:PORT, with a port from 0 to 65535", _endpoint)
ENDPOINTS: Type[tuple[Endpoint, ...]] = several(_endpoint, f"{ENDPOINT.words}, or several with commas", tuple)
RESOLVERS: Type[tuple[Endpoint, ...]] = several(
    _resolver,
    "an IP address, or IP:PORT, such as 192.0.2.53 or 192.0.2.53:53, or several with commas",
    tuple,
    skips_empty=True,
)
NETWORK: Type[Network] = Type("a network, as in 10.0.0.0/8 or 192.0.2.7", _network)
NETWORKS: Type[tuple[Network, ...]] = several(
    _network, "networks, as in 10.0.0.0/8,192.0.2.7, or for loopback 127.0.0.0/8,::1", tuple, skips_empty=True
)
DOMAIN = Type("a domain, as in example.com", _domain)
DOMAINS: Type[frozenset[str]] = several(_domain, "domains with commas, as in example.com,example.org", frozenset)
HOST_NAME = Type("a host name", _own_name)
HOST_NAMES: Type[frozenset[str]] = several(
    _host_name, "host names without a port, with commas", frozenset, skips_empty=True
)
ACCOUNT = Type("twelve digits", _account)
REGION = Type("a region that AWS publishes, such as us-east-1", _region)
DATABASE = Type(
    "a URL such as postgresql://USER@HOST/NAME, with %2F for a slash and %40 for an at sign in a user name or password",
    _database,
)


def understood(type_: Type[T], text: str, where: str, *, is_secret: bool = False) -> T:
    """Parse a string. Raises `BadSetting` for an invalid string, with a message that begins with `where`, the source of
    the string. The message quotes the string unless `is_secret` is true.
    """
    try:
        return type_.read(text)
    except Unfit as error:
        raise refusal(type_, text, error, where, is_secret=is_secret) from error


def refusal(type_: Type[Any], text: str, error: Unfit, where: str, *, is_secret: bool = False) -> BadSetting:
    """Return the error for a string that is not valid for a type.

    The message quotes the string unless `is_secret` is true.
    """
    found = text if error.entry is None else error.entry
    instead = "" if is_secret else f", not {found!r}{f': {error.reason}' if error.reason else ''}"
    return BadSetting(f"{where} must be {type_.words}{instead}", where=where)
