"""Faults that a route injects, so that people who build on Waypost can test what happens then.

They are marked as such wherever they are seen: in the trace, in the result, and in a notice.
"""

import asyncio
from dataclasses import dataclass, replace

from waypost.delivery.outgoing import Parcel, Transport
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Trouble
from waypost.domain.mail.routes import Fault, Route, shown

SLOW_SECONDS = 5.0
"""How long a slow one waits before anything is sent."""


@dataclass(frozen=True, slots=True)
class Faulty:
    """A transport with the fault of the route."""

    transport: Transport

    async def attempt(self, parcel: Parcel, route: Route) -> AttemptResult:
        """Try once, and fail as the route says."""
        fault = route.fault
        if fault is Fault.TEMPFAIL:
            return _reply(route, 451, "4.3.0")
        if fault is Fault.PERMFAIL:
            return _reply(route, 410 if route.target.protocol is Protocol.WEBHOOK else 554, "5.0.0")
        if fault is Fault.SLOW:
            await asyncio.sleep(SLOW_SECONDS)
        result = await self.transport.attempt(parcel, route)
        if fault is Fault.DROP_AFTER_DATA and result.stage in {Stage.END, Stage.STORED}:
            return AttemptResult(
                protocol=result.protocol,
                stage=Stage.END,
                peer=result.peer,
                trouble=Trouble.DISCONNECTED,
                text="the connection was dropped after the message, before its reply (a fault that the route injects)",
                fault=fault,
            )
        return replace(result, fault=fault or "")

    async def close(self) -> None:
        """The maker of the transport closes it."""


def _reply(route: Route, code: int, enhanced: str) -> AttemptResult:
    """The reply that a peer would have sent."""
    return AttemptResult(
        protocol=route.target.protocol,
        stage=Stage.END,
        peer=shown(route.to),
        code=code,
        enhanced=enhanced,
        text="this is a fault that the route injects; nothing was sent",
        fault=route.fault or "",
    )
