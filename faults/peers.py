"""Peers that fail now and then: a mail server, an LMTP server and a webhook, whose failures one object decides."""

import asyncio
import random
import re
import time
from contextlib import suppress

from tests.kit.on_a_thread import OnAThread
from tests.kit.peers.mail_sink import TAKEN
from tests.kit.peers.webhook_receiver import Receiver

NOT_NOW = b"451 4.3.0 not now"
CONTENT = re.compile(rb"Content-Type: message/rfc822\r\n\r\n(.*)\r\n--[^\r\n]+--\r\n$", re.DOTALL)
"""The message in the body of a webhook's request, which is its last part."""

STAGES = ("at RCPT", "at the end", "after the message")
"""The stages at which a peer fails: it refuses the recipient, it refuses the message, or it accepts the message but
closes the connection instead of replying."""


class PeerFailures:
    """Decides when the peers fail. `share` is the share of failures; at first there are none."""

    def __init__(self, seed):
        self._random = random.Random(f"peers {seed}")
        self.share = 0.0
        self.slow_once = 0.0
        """The time, in seconds, after which a peer replies to the next message that it gets."""
        self.counts = dict.fromkeys(STAGES, 0)

    def at_rcpt(self, _):
        return NOT_NOW if self.fails("at RCPT") else b"250 2.1.5 ok"

    def at_end(self, _):
        seconds, self.slow_once = self.slow_once, 0.0
        if seconds:  # this mail server does nothing else meanwhile
            time.sleep(seconds)
        if self.fails("at the end"):
            return NOT_NOW
        return None if self.fails("after the message") else TAKEN

    def fails(self, stage):
        fails = self._random.random() < self.share / len(STAGES)
        self.counts[stage] += fails
        return fails


class Hook(OnAThread):
    """A webhook receiver. `taken` has the message, the id of the delivery, the time, and whether it responded."""

    def __init__(self, failures):
        self._failures = failures
        self.taken = []

    @property
    def url(self):
        return self._receiver.url

    async def _begin(self):
        self._receiver = Receiver(self._script)
        await self._receiver.__aenter__()

    async def _close(self):
        await self._receiver.__aexit__()
        for _ in range(5):
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _script(self, talk):
        with suppress(asyncio.CancelledError, asyncio.IncompleteReadError):
            while True:
                request = await talk.request()
                talk.receiver.requests.clear()
                if self._failures.fails("at RCPT"):
                    return talk.writer.transport.abort()
                if self._failures.fails("at the end"):
                    await talk.say(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                    continue
                is_told = not self._failures.fails("after the message")
                octets = CONTENT.search(request.body)[1]
                self.taken.append((octets, request.headers["Idempotency-Key"], time.monotonic(), is_told))
                if not is_told:
                    return talk.writer.transport.abort()
                await talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
