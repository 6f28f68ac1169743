"""Renders the templates. All values are escaped, and a variable that is missing is an error."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request

from waypost.console import cookies, csrf
from waypost.console.parts import PREFIX
from waypost.domain import moments

THIN_SPACE = "\u202f"
"""The narrow no-break space between groups of three digits."""

_UNITS = ("bytes", "KB", "MB", "GB", "TB")


class Pages:
    """The templates of the console."""

    def __init__(
        self,
        *,
        navigation: Iterable[tuple[str, str]],
        operators: Iterable[tuple[str, str]],
        static: Mapping[str, str],
    ) -> None:
        """`navigation` has the label and the path of each link in the header. `operators` has examples of queries of
        the search box, each with what it finds. `static` has the URL of each file in `static/`, by its name.
        """
        self._environment = Environment(
            loader=PackageLoader("waypost.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(
            moment=moment,
            exact=exact,
            utc=utc,
            number=number,
            size=size,
            address=address,
            address_apart=address_apart,
            short_way=short_way,
            mono=mono,
            plural=plural,
        )
        self._environment.globals.update(
            navigation=list(navigation), operators=list(operators), static=static, prefix=PREFIX
        )

    def render(self, template: str, *, request: Request, csrf_token: str = "", notice: str = "", **values: Any) -> str:
        """Return the HTML of a template. `values` are its variables.

        All templates also have `here` (the path of the page), `here_and_query`, `theme`, `csrf` (the hidden field of a
        form), `csrf_token` and `notice` (a sentence that the page shows once).
        """
        here = request.url.path.removeprefix(PREFIX)
        field = Markup('<input type="hidden" name="{}" value="{}">').format(csrf.FIELD, csrf_token)
        return self._environment.get_template(template).render(
            values,
            here=here,
            here_and_query=f"{here}?{request.url.query}" if request.url.query else here,
            theme=cookies.theme(request),
            csrf=field if csrf_token else "",
            csrf_token=csrf_token,
            notice=notice,
        )

    def fragment(self, template: str, **values: Any) -> str:
        """Return the HTML of a template that is a part of pages, and that needs no request."""
        return self._environment.get_template(template).render(values)


def moment(at: datetime | None) -> Markup:
    """Return a time as `<time>`, in UTC. The script of the console makes it relative, in the person's time zone."""
    if at is None:
        return Markup("–")
    return Markup('<time datetime="{}" title="{}">{:%Y-%m-%d %H:%M} UTC</time>').format(
        moments.iso8601(at), utc(at), at.astimezone(UTC)
    )


def exact(at: datetime, show: Literal["all", "time"] = "all") -> Markup:
    """Return a time as `moment` does. The script shows it with its seconds, in the person's time zone, and with its
    date if `show` is `all`.
    """
    return Markup('<time datetime="{}" title="{}" data-exact="{}">{}</time>').format(
        moments.iso8601(at), utc(at), show, utc(at)
    )


def utc(at: datetime) -> str:
    """Return a time in UTC with its seconds, such as `2026-11-24 09:59:01 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def number(value: int) -> str:
    """Return a number with thin spaces between groups of three digits."""
    return f"{value:,}".replace(",", THIN_SPACE)


def size(octets: int) -> str:
    """Return a number of bytes in the largest unit that gives at least 1, such as `1.2 KB`. A KB is 1,000 bytes."""
    amount = float(octets)
    for unit in _UNITS:
        if amount < 1000 or unit == _UNITS[-1]:
            break
        amount /= 1000
    return f"{octets}{THIN_SPACE}{unit}" if unit == _UNITS[0] else f"{amount:.1f}{THIN_SPACE}{unit}"


def address(text: str) -> Markup:
    """Return an email address in monospace, which may be broken after its `@`."""
    local, at, domain = text.rpartition("@")
    return Markup('<span class="mono">{}{}<wbr>{}</span>').format(local, at, domain)


def address_apart(text: str) -> Markup:
    """Return an email address whose domain stands back, so that the local part is read first in a narrow column."""
    local, at, domain = text.rpartition("@")
    return Markup('{}{}<span class="soft">{}</span>').format(local, at, domain)


def short_way(way: str) -> str:
    """Return the way of a message, such as `help@x.example → desk@x.example`, with the domain only once if both
    addresses have it.
    """
    alias, arrow, primary = way.partition(" → ")
    local, _, domain = alias.rpartition("@")
    return f"{local}@ → {primary}" if arrow and primary.endswith(f"@{domain}") else way


def mono(text: str) -> Markup:
    """Return an id, a path or source text in monospace."""
    return Markup('<span class="mono">{}</span>').format(text)


def plural(count: int, singular: str, plural_form: str = "") -> str:
    """Return a count with its noun, such as `1 message` or `3 messages`."""
    return f"{number(count)} {singular if count == 1 else plural_form or singular + 's'}"


class Static:
    """The files in `static/`. Each URL contains a hash of the file's content, so browsers may keep the file forever."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, bytes]] = {}
        for file in resources.files("waypost.console").joinpath("static").iterdir():
            if file.name.endswith(tuple(_TYPES)):
                content = file.read_bytes()
                self._files[file.name] = (_digest(content), content)

    def urls(self) -> dict[str, str]:
        """Return the URL of each file, by its name."""
        return {name: f"{PREFIX}/static/{digest}/{name}" for name, (digest, _) in self._files.items()}

    def file(self, digest: str, name: str) -> tuple[bytes, str] | None:
        """Return the content and the media type of a file, or None if no file has this name and this content."""
        known, content = self._files.get(name, ("", b""))
        return (content, _TYPES[f".{name.rpartition('.')[2]}"]) if known and known == digest else None


_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()[:12]).decode()
