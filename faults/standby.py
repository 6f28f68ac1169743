"""A synchronous standby of a PostgreSQL server, which takes over when the primary has failed."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.kit.patience import wait_until
from tests.kit.stores.postgresql import _as_user, _environment, _give, _Postmaster, binaries

NAME = "standby"


class Standby:
    """Makes standbys of the servers of one deployment. `primary` is the postmaster that works now."""

    def __init__(self, database):
        self._settings = database._postmaster.settings
        self.primary = database._postmaster
        self._count = 0
        self._homes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.primary.running:
            self.primary.stop("immediate")
        for home in self._homes:
            shutil.rmtree(home, ignore_errors=True)

    def url(self, url):
        """Return the URL of the same database on the server that works now."""
        return url.replace(url.rpartition("/")[0], self.primary.url.rpartition("/")[0])

    def make(self):
        """Copy the primary, start the copy as its synchronous standby, and wait until it follows."""
        self._count += 1
        home = Path(tempfile.mkdtemp(prefix=f"waypost-standby-{self._count}-", dir=self.primary.home.parent))
        _give(home)
        if (self.primary.home / "locale").exists():
            (home / "locale").symlink_to(self.primary.home / "locale")
        self._homes.append(home)
        source = f"host=127.0.0.1 port={self.primary.port} user=postgres application_name={NAME}"
        command = [binaries() / "pg_basebackup", "-D", home / "data", "-d", source, "-R", "-X", "stream", "-c", "fast"]
        made = subprocess.run(
            [*command, "--no-sync"], env=_environment(home), capture_output=True, text=True, check=False, **_as_user()
        )
        assert made.returncode == 0, made.stderr
        (home / "data").chmod(0o700)
        standby = _Postmaster(home, self._settings | {"hot_standby": "on"}, tcp=True)
        standby.start()
        with psycopg.connect(self.primary.url, autocommit=True) as admin:
            wait_until(lambda: admin.execute("SELECT FROM pg_stat_replication").rowcount == 1, "no standby follows")
            admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{NAME}'")
            admin.execute("SELECT pg_reload_conf()")
            wait_until(
                lambda: admin.execute("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'").rowcount == 1,
                "the standby is not synchronous",
            )
        return standby

    def fail_over(self, standby):
        """Kill the primary, and let the standby take over, alone."""
        self.primary.kill()
        with psycopg.connect(standby.url, autocommit=True) as admin:
            admin.execute("SELECT pg_promote(true, 60)")
            wait_until(lambda: self._is_writable(admin), "the standby does not take over")
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            admin.execute("SELECT pg_reload_conf()")
        self.primary = standby
        return "127.0.0.1", standby.port

    @staticmethod
    def _is_writable(admin):
        return admin.execute("SELECT NOT pg_is_in_recovery()").fetchone()[0]
