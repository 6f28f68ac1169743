"""A deterministic event loop on which several processes run in virtual time.

A process is a name in a context variable: each task, callback and timer belongs to the process in whose context it was
created. Like a real process, each has its own queue of callbacks, which run in their order. Before each step, a seeded
choice decides which process runs next. A stopped process does not run, although its timers become due.

If no process can run, the time jumps to the next timer. Nothing ever waits in real time.
"""

import asyncio
import contextvars
import heapq
import itertools
from collections import deque

PROCESS = contextvars.ContextVar("PROCESS", default="world")
"""The name of the process to which the current task belongs."""


class Stuck(Exception):
    """Nothing can happen any more, although the simulation has not ended."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """The event loop of one simulation."""

    def __init__(self, chance):
        super().__init__()
        self.steps = 0
        """The number of callbacks that have run."""
        self._chance = chance
        self._now = 0.0
        self._queues = {}
        self._runnable = {}
        """The names of the processes that can run, as the keys of a dictionary, whose order is the same in each run."""
        self._stopped = set()
        self._timers = []
        self._numbers = itertools.count()
        self._tasks = {}

    def time(self):
        return self._now

    def in_process(self, name, work):
        """Start the coroutine `work` as a task of a process, and return the task."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, name)
        return self.create_task(work, context=context)

    def tasks_of(self, name):
        """Return the unfinished tasks of a process, oldest first."""
        return [task for task, process in self._tasks.items() if process == name]

    def stop_process(self, name):
        """Let a process stand still, as SIGSTOP does."""
        self._stopped.add(name)
        self._runnable.pop(name, None)

    def continue_process(self, name):
        """Let a process continue, as SIGCONT does."""
        self._stopped.discard(name)
        if self._queues.get(name):
            self._runnable[name] = None

    def is_stopped(self, name):
        """Return whether a process stands still."""
        return name in self._stopped

    # The methods of asyncio's event loop.

    def create_task(self, coro, *, name=None, context=None, **options):
        task = super().create_task(coro, name=name, context=context, **options)
        self._tasks[task] = (context or contextvars.copy_context()).get(PROCESS, "world")
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task):
        self._tasks.pop(task, None)

    def call_soon(self, callback, *args, context=None):
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle):
        pass  # it is dropped when it becomes due

    def _run_once(self):
        while not self._runnable:
            self._advance()
        names = list(self._runnable)
        name = names[0] if len(names) == 1 else self._chance.choice(names)
        queue = self._queues[name]
        handle = queue.popleft()
        if not queue:
            del self._runnable[name]
        if not handle.cancelled():
            self.steps += 1
            handle._run()

    def _advance(self):
        """Move the time to the next timer, and enqueue all timers that are then due."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            raise Stuck("no process can run, and no timer is set")
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled():
                self._enqueue(timer)

    def _enqueue(self, handle):
        name = handle._context.get(PROCESS, "world")
        self._queues.setdefault(name, deque()).append(handle)
        if name not in self._stopped:
            self._runnable[name] = None


def run(work, chance):
    """Run a function that returns a coroutine on a new loop, and return its result and the number of steps.

    `work` gets the loop.
    """
    loop = SimulatedLoop(chance)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(work(loop)), loop.steps
    finally:
        asyncio.set_event_loop(None)
        loop.close()
