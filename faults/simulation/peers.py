"""The peers of the servers: a transport that accepts, refuses or defers each copy, or loses the reply."""

import asyncio

from faults.simulation.history import Arrival
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Trouble

SLOW = 0.08
"""The share of attempts that take longer than a lease, although nothing fails."""

ACCEPTED_AFTER_DEATH = 0.3
"""The share of interrupted attempts whose peer had already got the whole message."""


class Peers:
    """The transport of one server to all peers."""

    def __init__(self, world, process):
        self._world, self._process = world, process

    async def attempt(self, parcel, route):
        """Attempt a delivery once."""
        world, chance = self._world, self._world.chance
        began, peer = world.now(), route.to
        world.log("attempt", parcel.delivery.id)
        fault = world.injector.of_attempt(self._process, peer)
        if fault == "a peer was unreachable":
            await asyncio.sleep(world.latency())
            return _result(peer, Stage.CONNECT, trouble=Trouble.UNREACHABLE)
        if fault == "a peer refused":
            await asyncio.sleep(world.latency())
            return _result(peer, Stage.RCPT, code=550, enhanced="5.1.1")
        if fault == "a peer deferred":
            await asyncio.sleep(world.latency())
            return _result(peer, Stage.RCPT, code=451, enhanced="4.3.0")
        octets = parcel.header
        async with parcel.reading() as parts:
            async for part in parts:
                octets += part
        is_slow = chance.random() < SLOW
        try:
            await asyncio.sleep(chance.uniform(100, 300) if is_slow else world.latency())
        except asyncio.CancelledError:
            if chance.random() < ACCEPTED_AFTER_DEATH:
                self._accept(parcel, octets, began, is_reply_lost=True)
            raise
        is_lost = fault == "a peer's reply was lost"
        self._accept(parcel, octets, began, is_reply_lost=is_lost)
        world.injector.after_peers_reply(self._process)
        await asyncio.sleep(world.latency())
        if is_lost:
            return _result(peer, Stage.END, trouble=Trouble.DISCONNECTED)
        return _result(peer, Stage.END, code=250, enhanced="2.0.0")

    def _accept(self, parcel, octets, began, *, is_reply_lost):
        self._world.log("accepted by a peer", parcel.delivery.id)
        self._world.history.arrivals.append(
            Arrival(
                delivery_id=parcel.delivery.id,
                server=self._process,
                octets=octets,
                began=began,
                at=self._world.now(),
                is_reply_lost=is_reply_lost,
            )
        )

    async def close(self):
        pass


def _result(peer, stage, **reply):
    return AttemptResult(protocol=Protocol.SMTP, stage=stage, peer=peer, text="simulated", **reply)
