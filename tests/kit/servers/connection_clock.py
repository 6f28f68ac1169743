"""A clock for the server's connections that a test advances, so that no time limit ends early on a busy machine."""

import heapq
import itertools


class Clock:
    """A clock in seconds, with timers."""

    def __init__(self):
        self.now = 1_000.0
        self._timers = []
        self._numbers = itertools.count()

    def advance(self, seconds):
        """Advance the clock, and run each timer at its time."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, timer = heapq.heappop(self._timers)
            timer.run()
        self.now = end

    def call_later(self, seconds, action, *arguments):
        timer = _Timer(action, arguments)
        heapq.heappush(self._timers, (self.now + seconds, next(self._numbers), timer))
        return timer


class LoopWithClock:
    """A real event loop whose time and timers come from a `Clock`."""

    def __init__(self, loop, clock):
        self._loop, self._clock = loop, clock
        self.call_later = clock.call_later

    def time(self):
        return self._clock.now

    def __getattr__(self, name):
        return getattr(self._loop, name)


class _Timer:
    def __init__(self, action, arguments):
        self._action, self._arguments = action, arguments

    def cancel(self):
        self._action = None

    def run(self):
        if self._action:
            self._action(*self._arguments)
