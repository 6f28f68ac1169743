"""Ends streams of events when the client may no longer see the events, for example because its access key was
deactivated.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.responses import Response, StreamingResponse

MEDIA_TYPE = "text/event-stream"
"""The media type of server-sent events. A response with this type has no end of its own."""


def end_when_refused(response: Response, is_allowed: Callable[[], Awaitable[bool]]) -> None:
    """If a response is a stream of events, let it end at the first event for which `is_allowed` returns False."""
    if isinstance(response, StreamingResponse) and response.media_type == MEDIA_TYPE:
        response.body_iterator = _while_allowed(response.body_iterator, is_allowed)


async def _while_allowed(parts: Any, is_allowed: Callable[[], Awaitable[bool]]) -> AsyncIterator[Any]:
    try:
        async for part in parts:
            if not await is_allowed():
                return
            yield part
    finally:
        await parts.aclose()
