"""The pages of the inspection API that show what a message contains: its parts, its text and its HTML."""

from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from waypost.app import inspection_schema as schema
from waypost.app import ports
from waypost.app.mail import reading
from waypost.domain import errors
from waypost.inspection import guard, requests
from waypost.mime.message import PICTURES
from waypost.mime.reader import Reader

_SHOWN = PICTURES | {"text/plain"}
"""The media types with which a part is sent. All others are sent as bytes, because a browser would run a page."""

_INERT = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cache-control": "private, no-store",
}
"""Header fields that keep a browser from running the content of a message."""


class ContentPages:
    """The pages that show what a message contains.

    Each page is a method with two arguments: the request, and the account of its access key.
    """

    def __init__(self, store: ports.Store, reader: Reader, prefix: str) -> None:
        """`prefix` is the path below which the API is."""
        self._store = store
        self._reader = reader
        self._prefix = prefix

    async def parts(self, request: Request, account: str) -> Response:
        """Respond with the header fields and the parts of a message."""
        message = await self._reader.read(await self._raw(request, account))
        parts: list[schema.MessagePart] = [
            {
                "number": part.number,
                "content_type": part.content_type,
                "charset": part.charset,
                "filename": part.filename,
                "content_id": part.content_id,
                "disposition": part.disposition,
                "size": part.size,
                "depth": part.depth,
                "is_attachment": part.is_attachment,
            }
            for part in message.parts
        ]
        return JSONResponse(
            schema.MessageParts(
                headers=[schema.HeaderField(name=name, value=value) for name, value in message.headers],
                parts=parts,
                html_part=message.html_part,
                problems=list(message.problems),
            )
        )

    async def part(self, request: Request, account: str) -> Response:
        """Respond with the decoded content of one part."""
        number = requests.part_number(request.path_params["number"], "the number of the part")
        content = await self._reader.part(await self._raw(request, account), number)
        kind = content.content_type if content.content_type in _SHOWN else "application/octet-stream"
        if kind == "text/plain":
            kind = f"text/plain; charset={content.charset or 'us-ascii'}"
        headers = {"content-type": kind.encode("ascii", "replace").decode(), "content-disposition": "attachment"}
        return Response(content.octets, headers=headers | _INERT)

    async def text(self, request: Request, account: str) -> Response:
        """Respond with the text of a message."""
        message = await self._reader.read(await self._raw(request, account))
        return Response(
            message.text.encode("utf-8", "replace"), headers={"content-type": "text/plain; charset=utf-8"} | _INERT
        )

    async def html(self, request: Request, account: str) -> Response:
        """Respond with the HTML of a message, so that it is safe to show."""
        query = request.query_params
        raw = await self._raw(request, account)
        message_id = request.path_params["id"]
        number = requests.part_number(query["part"], "`part`") if "part" in query else None
        if number is None:
            number = (await self._reader.read(raw)).html_part
        if number is None:
            raise errors.NotFound(f"Message {message_id} has no HTML.")
        found = await self._reader.html(
            raw,
            number,
            lambda part: f"{self._prefix}/messages/{message_id}/parts/{part}",
            allow_remote=requests.switch(query, "remote"),
        )
        return JSONResponse(
            schema.MessageHtml(
                html=found.html,
                part=number,
                remote=found.remote,
                links=[
                    schema.HtmlLink(text=link.text, target=link.target, is_misleading=link.is_misleading)
                    for link in found.links
                ],
                problems=list(found.problems),
            )
        )

    async def _raw(self, request: Request, account: str) -> bytes:
        """Return the bytes of the message in the path of a request."""
        use_case = partial(reading.raw, account=account, message_id=request.path_params["id"])
        return await guard.long_read(self._store, use_case, account=account, what="the message", instead=guard.AGAIN)
