"""One simulated server, from its start until it is killed: a store, a delivery worker, the reception of mail, and the
maintenance, which are all Waypost's own.
"""

import asyncio
import contextvars
import io
import traceback
from datetime import timedelta

from faults.simulation.loop import PROCESS
from faults.simulation.peers import Peers
from faults.simulation.store import SimulatedStore
from tests.kit.values import TENANT
from waypost.app.deployment import Deployment
from waypost.app.limit_state import OwnState
from waypost.app.mail.wanted import NotesWanted
from waypost.app.ports.failures import STORE_FAILURES
from waypost.delivery.queue.worker import Dependencies, Worker
from waypost.domain.mail.delivery import Policy, Protocol
from waypost.domain.mail.retention import Rule
from waypost.domain.mail.routes import Route
from waypost.observe import events
from waypost.observe.incidents import Incidents
from waypost.observe.tasks import OnError, Tasks
from waypost.server.maintenance import PLAN_AGE, Maintenance
from waypost.smtp.backend.backend import Backend
from waypost.smtp.backend.ids import Ids
from waypost.smtp.backend.reception import Reception
from waypost.smtp.limits.admission import Admission
from waypost.smtp.limits.memory import Memory
from waypost.smtp.limits.timeouts import SmtpLimits

POLICY = Policy(
    retry_schedule=tuple(timedelta(seconds=seconds) for seconds in (15, 45, 120)),
    expire=timedelta(minutes=10),
    pause=timedelta(seconds=20),
)
"""Shorter times than the defaults, so that dead letters occur within a simulated hour."""

DELAY_WARNING = timedelta(minutes=2)
"""The time after which a sender gets a notice that mail is delayed."""

KEEPS_ALL = (Rule(match="*", age=timedelta(days=3650)),)
"""A retention rule that must delete nothing."""


class Lost(Exception):
    """The server was killed before it replied, or the client did not wait for the reply."""


class Server:
    """One server. A restarted server is a new object and a new process."""

    def __init__(self, world, name, number):
        self.name, self.process = name, f"{name}.{number}"
        self._world = world
        self.is_alive = True
        self.is_ready = False
        """Whether the server has started, so that clients can connect to it."""
        self._calls = {}
        self.store = SimulatedStore(world, self.process)
        self.deployment = Deployment(
            hostname="waypost.example",
            loop_key=b"loop",
            routes=world.routes,
            policy=POLICY,
            delay_warning=DELAY_WARNING,
            owner=TENANT.account,
        )

    def clock(self):
        """Return the time on this server's clock, which may be wrong."""
        return self._world.clock(self.name)

    def start(self, *, is_alone):
        """Start the server. `is_alone` says whether no other server has been running since the last one ended."""
        self._world.log("start", self.process)
        self._world.loop.in_process(self.process, self._run(is_alone=is_alone))

    async def _run(self, *, is_alone):
        incidents = Incidents(self._emit, of_store=STORE_FAILURES)
        tasks = Tasks(incidents)
        ids = Ids()
        ids._random = io.BytesIO(self._world.chance.randbytes(8 * 1000))
        self._ids = ids
        deps = Dependencies(
            store=self.store,
            deployment=self.deployment,
            transports=dict.fromkeys(Protocol, Peers(self._world, self.process)),
            clock=self.clock,
            emit=self._emit,
            tasks=tasks,
            new_id=lambda: ids.new(self.clock()),
            is_alone=is_alone,
            monotonic=self._world.loop.time,
        )
        limits = SmtpLimits()
        worker = Worker(deps)
        worker._leases._worker = self.process
        self.backend = Backend(
            store=self.store,
            deployment=self.deployment,
            clock=self.clock,
            emit=self._emit,
            tasks=tasks,
            admission=Admission(limits, OwnState()),
            memory=Memory(limits.memory),
            has_work=worker.wake,
            ids=ids,
        )
        maintenance = Maintenance(
            store=self.store,
            deployment=self.deployment,
            incidents=incidents,
            real_clock=self.clock,
            mail_clock=self.clock,
            mail_text=None,
            notes=NotesWanted(OwnState(), self.clock),
            token_retention=timedelta(days=7),
            refusal_retention=timedelta(days=7),
            rules=KEEPS_ALL,
            begun_before=self.clock() - timedelta(days=1),
            first_plan_age=timedelta(0) if is_alone else PLAN_AGE,
        )
        while True:
            try:
                await worker.start()
                break
            except STORE_FAILURES:  # the supervisor starts the process again
                await asyncio.sleep(1)
        self.worker = worker
        for job in (maintenance.run, maintenance.run_plans):
            tasks.start(job, where="maintenance", on_error=OnError.RESTART)
        self.is_ready = True

    def reception(self):
        """Return a new SMTP session's reception."""
        return Reception(self.backend, peer="192.0.2.1", trusted=False, in_trusted_network=True)

    def in_background(self, work):
        """Call a function in this server's process, unless the server is killed before."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, self.process)
        self._world.loop.call_soon(lambda: self.is_alive and work(), context=context)

    async def call(self, work, *, patience):
        """Run the coroutine `work` on this server, and return its result to the client, which is another process.

        Raises `Lost` if the server is killed, or if the reply takes longer than `patience` seconds. In the second case,
        the server still completes the call.
        """
        loop = self._world.loop
        if not self.is_alive:
            work.close()
            raise ConnectionRefusedError
        reply = loop.create_future()
        task = loop.in_process(self.process, work)
        self._calls[task] = reply
        task.add_done_callback(self._reply)
        try:
            async with asyncio.timeout(patience):
                return await reply
        except TimeoutError:
            raise Lost from None

    def _reply(self, task):
        reply = self._calls.pop(task)
        if reply.done():
            if not task.cancelled():
                task.exception()  # nobody waits for it
        elif task.cancelled():
            reply.set_exception(Lost())
        elif task.exception():
            reply.set_exception(task.exception())
        else:
            reply.set_result(task.result())

    @property
    def is_busy(self):
        """Whether calls of clients have not ended."""
        return bool(self._calls)

    def kill(self):
        """End the server at once. None of its tasks has any further effect."""
        self.is_alive = False
        self.store.is_dead = True
        for task in self._world.loop.tasks_of(self.process):
            task.cancel()

    def _emit(self, event):
        if isinstance(event, events.Failed) and self.is_alive:
            cause = event.cause
            self._world.history.bugs.append("".join(traceback.format_exception(cause)))
        self._world.log(type(event).__name__, getattr(event, "destination", ""))


def routes_of(addresses):
    """Return the routes of the addresses that have one: to peers, some with a copy in the inbox."""
    return tuple(
        Route(match=address, to=f"smtp://peer{number % 2}.example:25", keep=number % 3 == 0)
        for number, address in enumerate(addresses)
    )
