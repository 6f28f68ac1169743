"""Sends the contents of a message: the whole message, its parts, and its HTML as a document for a sandboxed frame.

A stranger wrote all of this. Therefore nothing here can run as a page of the console: the browser saves files instead
of showing them, and the document with the HTML has an origin of its own and a policy that forbids everything else.
"""

import hmac
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from hashlib import sha256
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from waypost.app.mail import copies
from waypost.app.ports.failures import STORE_FAILURES
from waypost.console.guard import Guard
from waypost.console.parts import PREFIX, Parts
from waypost.console.views.mail.message import is_raster
from waypost.console.views.mail.selection import id_in
from waypost.console.visits import Visit
from waypost.mime.message import CannotRead, PartContent
from waypost.mime.reader import SIZE_LIMIT
from waypost.observe.incidents import Incidents

PICTURES_SHOWN_FOR = timedelta(minutes=10)
"""How long the URLs of the pictures in a frame are valid."""

_NUMBER = re.compile("[0-9]{1,6}")

SANDBOX = "sandbox allow-popups allow-popups-to-escape-sandbox"
"""What the document of a frame may do: open a link in a new window, which is then an ordinary window."""

_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>The message as HTML</title><style>
html {{ background: #fff; color: #1b1f24; font: 14px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }}
img, table {{ max-width: 100%; }} img {{ height: auto; }} body {{ margin: 12px; }}
</style></head><body>{html}</body></html>
"""


async def raw(visit: Visit) -> Response:
    """Send the whole message as a file."""
    found = await _contents(visit, limit=copies.PART)
    incidents = Incidents(visit.parts.emit, of_store=STORE_FAILURES)
    parts = copies.parts(visit.parts.store, visit.account, found.copy, found.octets)
    sent = incidents.while_sending(parts, where="console", unless=copies.Gone)
    headers = _headers_of_file("message/rfc822", f"{found.copy.message_id}.eml")
    size = len(found.copy.trace_header) + found.copy.size
    return StreamingResponse(sent, headers={**headers, "content-length": str(size)})


async def part(visit: Visit) -> Response:
    """Send a part as a file. The media type is not that of the message, unless the part is a picture."""
    content = await _part(visit.parts, await _contents(visit), _number(visit.request))
    kind = content.content_type if is_raster(content.content_type) else "application/octet-stream"
    return _file(content.octets, kind, content.filename or f"part-{_number(visit.request)}")


async def html(visit: Visit) -> Response:
    """Send the HTML of the message, made safe, as the document of a frame."""
    is_remote = visit.query.get("remote") == "1"
    found = await _contents(visit)
    reader = visit.parts.reader
    try:
        mime = await reader.read(found.raw)
        if mime.html_part is None:
            raise HTTPException(404, "The message has no HTML.")
        url = partial(_picture_url, visit.parts, visit.account, found.copy.message_id)
        safe = await reader.html(found.raw, mime.html_part, url, is_remote)
    except CannotRead as error:
        return Response(str(error), media_type="text/plain", headers=_frame_headers(is_remote=False))
    return Response(_FRAME.format(html=safe.html), media_type="text/html", headers=_frame_headers(is_remote=is_remote))


class Pictures:
    """The pictures in the HTML of messages.

    The document of a frame has an origin of its own, so a browser does not send the session's cookie with its requests,
    and reports them as requests of another site. Therefore the URL of a picture contains a key that only this server
    can make, and that is valid for one picture and for a short time.
    """

    def __init__(self, guard: Guard) -> None:
        self._parts = guard.parts

    async def show(self, request: Request) -> Response:
        """Send a picture."""
        account, until = request.query_params.get("account", ""), request.query_params.get("until", "")
        message_id, number = id_in(request.path_params), _number(request)
        known = _key(self._parts, account, message_id, number, until)
        given = request.query_params.get("key", "")
        if not hmac.compare_digest(given.encode(), known.encode()) or int(until) < self._parts.clock().timestamp():
            raise HTTPException(403, "The URL of this picture is no longer valid. Open the message again.")
        use_case = partial(copies.contents, account=account, message_id=message_id, limit=SIZE_LIMIT)
        found = await self._parts.store.long_read(use_case, what="the message", account=account)
        content = await _part(self._parts, found, number)
        if not is_raster(content.content_type):
            raise HTTPException(404, "This part is not a picture.")
        headers = _contained() | {"cross-origin-resource-policy": "cross-origin"}
        return Response(content.octets, media_type=content.content_type, headers=headers)


def _picture_url(parts: Parts, account: str, message_id: str, number: int) -> str:
    until = str(int((parts.clock() + PICTURES_SHOWN_FOR).timestamp()))
    query = {"account": account, "until": until, "key": _key(parts, account, message_id, number, until)}
    return f"{PREFIX}/mail/{message_id}/pictures/{number}?{urlencode(query)}"


def _key(parts: Parts, account: str, message_id: str, number: int, until: str) -> str:
    signed = f"picture {account} {message_id} {number} {until}"
    return hmac.digest(parts.form_key, signed.encode("utf-8", "replace"), sha256).hex()


async def _contents(visit: Visit, limit: int = SIZE_LIMIT) -> copies.Contents:
    message_id = id_in(visit.request.path_params)
    use_case = partial(copies.contents, account=visit.account, message_id=message_id, limit=limit)
    return await visit.long_read(use_case, what="the message")


async def _part(parts: Parts, found: copies.Contents, number: int) -> PartContent:
    try:
        return await parts.reader.part(found.raw, number)
    except CannotRead as error:
        raise HTTPException(404, str(error)) from error


def _number(request: Request) -> int:
    """Return the number of the part in the path of a URL. Raises `HTTPException`."""
    number = request.path_params["number"]
    if not _NUMBER.fullmatch(number):
        raise HTTPException(404, "The message has no such part.")
    return int(number)


def _file(octets: bytes, kind: str, name: str) -> Response:
    return Response(octets, headers=_headers_of_file(kind, name))


def _headers_of_file(kind: str, name: str) -> Mapping[str, str]:
    """Return the header fields of a response that a browser saves as a file (RFC 6266)."""
    plain = "".join(one if one.isascii() and one.isprintable() and one not in '"\\%' else "_" for one in name)
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    return _contained() | {"content-disposition": disposition, "content-type": kind}


def _contained() -> dict[str, str]:
    """Return header fields for content that is not a page."""
    return {"content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox"}


def _frame_headers(*, is_remote: bool) -> Mapping[str, str]:
    """Return the header fields of the document of a frame. With `is_remote`, it may load pictures from anywhere."""
    pictures = "img-src 'self' data: https: http:" if is_remote else "img-src 'self' data:"
    return {
        "content-security-policy": f"default-src 'none'; {pictures}; style-src 'unsafe-inline'; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors 'self'; {SANDBOX}",
        "x-frame-options": "SAMEORIGIN",
        "cross-origin-opener-policy": "unsafe-none",
    }
