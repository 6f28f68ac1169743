"""The page of the inspection API that counts mail over time."""

from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from waypost.app import inspection_schema as schema
from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import counting
from waypost.app.mail.wanted import NotesWanted
from waypost.domain import moments
from waypost.domain.mail.routes import shown
from waypost.inspection import guard


class CountingPage:
    """The page that counts mail."""

    def __init__(self, store: ports.Store, deployment: Deployment, clock: ports.Clock, *, notes: NotesWanted) -> None:
        self._store = store
        self._notes = notes
        self._deployment = deployment
        self._clock = clock

    async def counts(self, _: Request, account: str) -> Response:
        """Respond with the counts of an account, and the ways of its deliveries."""
        self._notes.renew()
        use_case = partial(counting.counts, account=account, servers_owner=self._deployment.owner, now=self._clock())
        found = await guard.long_read(self._store, use_case, account=account, what="the counts", instead=guard.AGAIN)
        return JSONResponse(
            schema.Counts(
                minutes=[_counted(one) for one in found.minutes],
                hours=[_counted(one) for one in found.hours],
                ways=[
                    schema.Way(
                        address=one.address,
                        alias=one.alias or None,
                        destination=shown(one.destination) if one.destination else None,
                        count=one.count,
                    )
                    for one in found.flows
                ],
            )
        )


def _counted(one: counting.Counted) -> schema.Counted:
    counts = one.counts
    return schema.Counted(
        start=moments.iso8601(one.start),
        accepted=counts["accepted"],
        delivered=counts["delivered"],
        deferred=counts["deferred"],
        refused=counts["refused"],
        dead=counts["dead"],
    )
