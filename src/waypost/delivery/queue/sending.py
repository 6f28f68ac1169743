"""Sends one delivery over its route, once, and turns every failure into the result of the attempt."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial

from waypost.app import ports
from waypost.app.deployment import Deployment
from waypost.app.mail import accept
from waypost.app.queue.attempt import Ready
from waypost.delivery import outgoing
from waypost.delivery.queue.faults import Faulty
from waypost.domain.mail.delivery import AttemptResult, Protocol, Stage, Trouble

LONGEST_ATTEMPT = 3600.0
"""The time limit of one attempt, in seconds. It is enforced in addition to the transports' timeouts."""

PART = 256 * 1024
"""The number of bytes of a message that are read at a time."""


class Sending:
    """Makes the attempts of one worker."""

    def __init__(
        self,
        store: ports.Store,
        deployment: Deployment,
        transports: Mapping[Protocol, outgoing.Transport],
        *,
        clock: ports.Clock,
        failed: Callable[[Exception, str], None],
    ) -> None:
        """`failed` logs a failure, with the id of the delivery that it affects."""
        self._store, self._deployment, self._transports = store, deployment, transports
        self._clock, self._failed = clock, failed

    async def attempt(self, ready: Ready, *, traceparent: str) -> AttemptResult:
        """Try once to carry out a delivery over its route, and return the result. An error is a result too.

        `traceparent` is the context of the attempt's span for the peer; empty if there is no span.
        """
        message, protocol = ready.claimed.message, ready.route.target.protocol
        damage: list[ports.Damaged] = []
        octets = partial(self._octets, message.id, message.size, ready.claimed.octets, damage)
        try:
            made = outgoing.make(ready, self._deployment, self._clock(), octets, traceparent=traceparent)
            transport = self._transports[protocol]
            if ready.route.fault:
                transport = Faulty(transport)
            async with asyncio.timeout(LONGEST_ATTEMPT):
                result = await transport.attempt(made, ready.route)
            return self._damaged(damage[0], ready) if damage else result
        except ports.Damaged as error:
            return self._damaged(error, ready)
        except TimeoutError:
            text = f"the attempt took longer than {LONGEST_ATTEMPT:g} s"
            return AttemptResult(protocol=protocol, stage=Stage.END, trouble=Trouble.TIMEOUT, text=text)
        except Exception as error:  # noqa: BLE001 - a bug must not make the delivery fail permanently
            self._failed(error, ready.claimed.delivery.id)
            text = "an internal error occurred; the log has the details under the id of this delivery"
            return AttemptResult(protocol=protocol, stage=Stage.CONNECT, trouble=Trouble.FAILED, text=text)

    def _damaged(self, error: ports.Damaged, ready: Ready) -> AttemptResult:
        """Log that the bytes of a message are damaged, and return the result of the attempt: the delivery waits, as
        long as other failed deliveries, so that a restored backup can still be sent. Its destination does not wait.
        """
        self._failed(error, ready.claimed.delivery.id)
        protocol = ready.route.target.protocol
        text = "the stored bytes of the message are damaged; the log has the details under the id of this delivery"
        return AttemptResult(protocol=protocol, stage=Stage.END, trouble=Trouble.DAMAGED, text=text)

    async def _octets(
        self, message_id: str, size: int, whole: bytes | None, damage: list[ports.Damaged]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a message. If they are damaged, add the error to `damage` too, because a transport may
        report it as a failure of its destination.
        """
        if whole is not None:
            yield whole
            return
        store = self._store
        long_read = partial(store.long_read, what="the bytes of a message")
        read = store.read if size <= PART else long_read  # reading a single part is a short read
        for start in range(0, size, PART):
            try:
                part = await read(partial(accept.kept_octets, message_id=message_id, start=start, limit=PART))
            except ports.Damaged as error:
                damage.append(error)
                raise
            yield part
