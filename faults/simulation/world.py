"""One simulation: servers on one database, clients, peers and faults, all from one seed."""

import asyncio
import gc
import random
from dataclasses import dataclass
from datetime import timedelta

from faults.simulation import loop as simulated_loop
from faults.simulation.clients import Client
from faults.simulation.history import Excuse, History
from faults.simulation.injector import Injector
from faults.simulation.loop import PROCESS, Stuck
from faults.simulation.model import violations
from faults.simulation.observed import observe
from faults.simulation.server import Server, routes_of
from faults.simulation.store import Versions, open_database
from tests.kit.values import NOW, NoSeal, an_email_address, make_instance
from waypost.store.sqlite.transaction import SqliteTransaction

SERVERS = ("a", "b", "c")
CLIENTS = 3
PHASES = 3
"""In each phase there are faults. Then all faults end, everything recovers, and the model checks the result."""

CALLS = 16
"""The calls of each client in a phase."""

FAULTS = 7
"""The number of faults that a phase chooses. Some may find no step at which they can happen."""

LONGEST_RECOVERY = 7200.0
"""The longest simulated time after the faults of a phase until the queue must be empty, in seconds."""

ALWAYS_THERE = tuple(f"fixed{number}" for number in range(24))
"""Email addresses that no client deletes. Their mail stays in the inbox."""

ROUTED = tuple(f"routed{number}" for number in range(6))
"""Email addresses that no client deletes. Their mail is sent to peers."""

CHANGING = tuple(f"change{number}" for number in range(6))
"""Email addresses that clients create and delete."""

CLOCKS_DIFFER = 60.0
"""By how many seconds the clocks of two servers may differ without a double delivery (`delivery/queue/leases.py`)."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one seed."""

    seed: int
    digest: str
    """The digest of everything that happened. Two runs of a seed have the same."""
    steps: int
    faults: dict[str, int]
    """The number of faults by kind. Each was followed by a recovery and a check."""
    phases: int
    violations: tuple[str, ...]


class World:
    """Everything that one simulation shares."""

    def __init__(self, loop, chance, *, faults):
        self.loop, self.chance, self._faults = loop, chance, faults
        self.history = History()
        self.connection = open_database()
        self.versions = Versions()
        self.injector = Injector(self)
        self.routes = routes_of([f"{name}@example.com" for name in ROUTED])
        self.fixed, self.routed, self.changing = ALWAYS_THERE, ROUTED, CHANGING
        self.token_retention, self.beginning = timedelta(days=7), NOW - timedelta(days=1)
        self.commits_lost = []
        """The processes and times at which a commit happened although its client got an error."""
        self._offsets = {name: timedelta(seconds=chance.uniform(-15, 15)) for name in SERVERS}
        self._clocks_wrong_since = None
        self._numbers = dict.fromkeys(SERVERS, 0)
        self.servers = {}
        self.observed = None
        """The state of the database at the end of the last phase."""
        self._restarts = set()

    # Time.

    def now(self):
        """Return the true time, in seconds since the start."""
        return self.loop.time()

    def latency(self):
        """Return a random duration of a step, in seconds: mostly milliseconds, sometimes longer."""
        if self.chance.random() < 0.03:
            return self.chance.uniform(0.1, 3.0)
        return self.chance.expovariate(200)

    def clock(self, name):
        """Return the time on the clock of a server."""
        return NOW + timedelta(seconds=self.now()) + self._offsets[name]

    def set_clock(self, server, by):
        """Set the clock of a server forward or back."""
        self._offsets[server.name] += by
        self._note_clocks()

    def _note_clocks(self):
        seconds = [offset.total_seconds() for offset in self._offsets.values()]
        if max(seconds) - min(seconds) > CLOCKS_DIFFER:
            if self._clocks_wrong_since is None:
                self._clocks_wrong_since = self.now()
        elif self._clocks_wrong_since is not None:
            self.history.excuses.append(
                Excuse(kind="clocks", server="", began=self._clocks_wrong_since, ended=self.now())
            )
            self._clocks_wrong_since = None

    # What happened.

    def log(self, *words):
        """Add something that happened to the digest of the history."""
        self.history.note(round(self.now(), 6), PROCESS.get(), *words)

    def excuse(self, kind, server, ended):
        """Record that a peer may get a copy twice because of a fault that begins now."""
        self.history.excuses.append(Excuse(kind=kind, server=server, began=self.now(), ended=ended))

    def count(self, table):
        """Return the number of rows of a table."""
        return self.connection.cursor().execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    # Servers.

    def start(self, name):
        """Start a server, or start it again."""
        is_alone = not any(server.is_alive for server in self.servers.values())
        self._numbers[name] += 1
        server = self.servers[name] = Server(self, name, self._numbers[name])
        server.start(is_alone=is_alone)

    def running(self):
        """Return the servers that a client can connect to, in the order of their names."""
        return [self.servers[name] for name in SERVERS if self.servers[name].is_alive and self.servers[name].is_ready]

    def a_live_server(self):
        """Return one of the running servers, or None if none runs."""
        running = self.running()
        return self.chance.choice(running) if running else None

    def kill(self, process):
        """Kill a server. It is started again later."""
        server = self.servers[process.partition(".")[0]]
        if server.process != process or not server.is_alive:
            return
        self.log("kill", process)
        self.excuse("killed", process, self.now())
        self.loop.continue_process(process)  # a stopped process can be killed, too
        server.kill()
        self._later(self.chance.uniform(0.2, 90), lambda: self._start_again(server))

    def _start_again(self, server):
        if self.servers[server.name] is server:
            self.start(server.name)

    def stop(self, process, seconds):
        """Let a server stand still for some seconds."""
        self.log("stop", process)
        self.excuse("stopped", process, self.now() + seconds)
        self.loop.stop_process(process)
        self._later(seconds, lambda: self.loop.continue_process(process))

    def _later(self, seconds, work):
        async def wait():
            await asyncio.sleep(seconds)
            work()

        task = self.loop.in_process("world", wait())
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    def between_queries(self, reading):
        """Let another server commit between two queries of a read, sometimes."""
        if self.chance.random() > 0.1:
            return
        others = [
            server.store
            for server in self.servers.values()
            if server.store is not reading and server.store.has_waiting and not self.loop.is_stopped(server.process)
        ]
        if others:
            self.chance.choice(others).commit_batch()

    # The run.

    async def run(self, phases=PHASES):
        """Run all phases, and return the violations that the model found in the first phase that has any."""
        await self._set_up()
        for number in range(phases):
            self.log("phase", number)
            clients = [Client(self, f"client{each}.{number}") for each in range(CLIENTS)]
            work = [self.loop.in_process(client.name, client.work(CALLS)) for client in clients]
            work.append(self.loop.in_process("injector", self.injector.inject(self._faults)))
            try:
                await asyncio.gather(*work)
                await self._recover()
                await Client(self, f"reader.{number}").describe_all()
            except (Stuck, TimeoutError) as error:
                return [f"The servers did not recover: {error}"]
            self.observed = observe(self.connection)
            found = violations(self.history, self.observed)
            if found:
                return found
        return []

    async def _set_up(self):
        writing = self._transaction()
        with self.connection:
            make_instance(writing)
            for name in (*ALWAYS_THERE, *ROUTED):
                writing.add_email_address(an_email_address(name), {})
                self.history.ids[name] = f"{name}@example.com"
        for name in SERVERS:
            self.start(name)
        while len(self.running()) < len(SERVERS):  # noqa: ASYNC110 - nothing tells when all have started
            await asyncio.sleep(0.1)

    def _transaction(self):
        return SqliteTransaction(self.connection, NoSeal())

    async def _recover(self):
        """End all faults, and wait until all servers run, no call runs, and the queue is empty."""
        self.injector.end()
        while self._restarts:
            await asyncio.wait(list(self._restarts))
        for name in SERVERS:
            self._offsets[name] = timedelta(seconds=self.chance.uniform(-15, 15))
        self._note_clocks()
        deadline = self.now() + LONGEST_RECOVERY
        while not self._is_quiet():
            if self.now() > deadline:
                waits = {table: self.count(table) for table in ("queue", "notices_owed", "planned_deliveries")}
                raise TimeoutError(f"after {LONGEST_RECOVERY:g} s the database still has {waits}")
            await asyncio.sleep(5)

    async def end(self):
        """End everything that still runs."""
        for server in self.servers.values():
            self.loop.continue_process(server.process)
            server.kill()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            await asyncio.sleep(1)  # what was interrupted may begin a task that closes it

    def _is_quiet(self):
        is_running = len(self.running()) == len(SERVERS) and not any(one.is_busy for one in self.servers.values())
        return is_running and not any(map(self.count, ("queue", "notices_owed", "planned_deliveries")))


def run_seed(seed, *, phases=PHASES, faults=FAULTS):
    """Run the simulation of one seed, and return its `Result`. Each phase chooses `faults` faults."""
    return run_world(seed, phases=phases, faults=faults)[1]


def run_world(seed, *, phases=PHASES, faults=FAULTS):
    """Run the simulation of one seed, and return what is left of its `World`, and its `Result`."""
    chance = random.Random(seed)
    worlds = []

    async def work(world):
        try:
            # The order in which the tasks end afterwards is not always the same.
            return await world.run(phases), world.history.digest, dict(sorted(world.injector.happened.items()))
        finally:
            await world.end()

    def begin(loop):
        worlds.append(World(loop, chance, faults=faults))
        return work(worlds[0])

    # The collector must not run at moments that depend on earlier seeds.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        (found, digest, happened), steps = simulated_loop.run(begin, chance)
    finally:
        if was_enabled:
            gc.enable()
    world = worlds[0]
    world.connection.close()
    return world, Result(
        seed=seed,
        digest=digest,
        steps=steps,
        faults=happened,
        phases=phases,
        violations=tuple(found),
    )
