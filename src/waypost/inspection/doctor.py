"""The page that checks the server, as `waypost doctor` does."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from waypost.app.inspection_schema import CheckServer
from waypost.inspection import guard


class DoctorPage:
    """The page with the results of the checks."""

    def __init__(self, check: CheckServer, *, owner: str) -> None:
        """`owner` is the account that owns the server."""
        self._check = check
        self._owner = owner

    async def doctor(self, _: Request, account: str) -> Response:
        """Respond with the results. `account` must be the owner's, because they name routes of every account."""
        guard.refuse_others(self._owner, account, "check the server", "the results name routes of every account")
        return JSONResponse(await self._check(), headers={"cache-control": "no-store"})
