"""The pages of the inspection API that delete mail."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from waypost.app import inspection_schema as schema
from waypost.app import ports
from waypost.app.mail import deleting
from waypost.domain import errors
from waypost.inspection import requests


class DeletingPages:
    """The pages that delete mail.

    Each page is a method with two arguments: the request, and the account of its access key.
    """

    def __init__(self, store: ports.Store, clock: ports.Clock) -> None:
        self._store = store
        self._clock = clock

    async def delete(self, request: Request, account: str) -> Response:
        """Delete all deliveries of a message to the account, or one delivery."""
        cancel = requests.switch(request.query_params, "cancel")
        return await self._deleted(account, [request.path_params["id"]], cancel=cancel)

    async def delete_many(self, request: Request, account: str) -> Response:
        """Delete messages or deliveries."""
        body = await requests.json_body(request, members=("ids", "cancel"))
        ids = requests.ids(body)
        if not ids:
            raise errors.Invalid("`ids` must name at least one message or delivery.")
        return await self._deleted(account, ids, cancel=requests.flag(body, "cancel"))

    async def _deleted(self, account: str, ids: Sequence[str], *, cancel: bool) -> Response:
        count = await deleting.delete(self._store, account, ids, cancel=cancel, clock=self._clock)
        return JSONResponse(schema.Deleted(deleted=count))
