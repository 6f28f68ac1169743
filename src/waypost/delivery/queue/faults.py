"""Faults that a route injects, so that developers who build on Waypost can test how their systems handle failures.

Injected faults are marked as such in the trace, in the result of the attempt, and in notices.
"""

import asyncio

from msgspec import Struct
from msgspec.structs import replace

from waypost.delivery.outgoing import Parcel, Transport
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Trouble
from waypost.domain.mail.routes import Fault, Route, shown

SLOW_SECONDS = 5.0
"""The delay, in seconds, before a route with the fault `slow` sends anything."""


class Faulty(Struct, frozen=True):
    """A transport that injects the route's fault into each attempt."""

    transport: Transport

    async def attempt(self, parcel: Parcel, route: Route) -> AttemptResult:
        """Attempt a delivery once, with the fault that the route injects."""
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
        """Do nothing, because the wrapped transport is closed by its owner."""


def _reply(route: Route, code: int, enhanced: str) -> AttemptResult:
    """Build the result of an attempt as if the peer had replied with this code and this enhanced status code."""
    return AttemptResult(
        protocol=route.target.protocol,
        stage=Stage.END,
        peer=shown(route.to),
        code=code,
        enhanced=enhanced,
        text="this is a fault that the route injects; nothing was sent",
        fault=route.fault or "",
    )
