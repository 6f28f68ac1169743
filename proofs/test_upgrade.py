"""A rolling upgrade from the previous version under load: two servers on one PostgreSQL, replaced one by one."""

import random
import smtplib
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from proofs.balancer import Balancer
from proofs.load import HELLO, Load, Sender, Writer, check_mail, errors_of
from proofs.test_delivery import wait_until_sent, why_doubled
from tests.kit.patience import PATIENCE
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import MASTER_KEY, System, end, waypost
from tests.kit.stores.postgresql import OwnServer
from waypost import testing
from waypost.host.master_key import MASTER_KEY_VARIABLE
from waypost.testing import process

PREVIOUS = Path(sys.prefix, "previous", "bin", "python")
"""Python with the previous version, which `make .venv/previous` installs."""

KILLS = 5
"""The number of kills of the first server that has this version."""

MORE = 20
"""How often each client succeeds between two steps of the upgrade."""

SETTINGS = """
[[route]]
match = "{relayed}"
to = "{to}"

[delivery]
retry_schedule = ["1s"]
"""


class PreviousServer(testing.Server):
    """A server of the previous version."""

    def start(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process, "sys", SimpleNamespace(executable=str(PREVIOUS)))
            super().start()


class Through:
    """Looks like a `System` to callers, but its addresses are those of load balancers."""

    def __init__(self, system, calls, mail):
        host, port = calls.address
        arguments = {**system.server.client_arguments, "endpoint_url": f"http://{host}:{port}"}
        self.server = SimpleNamespace(client_arguments=arguments, smtp=mail.address)
        self.instance_id, self.ids, self.new_address = system.instance_id, system.ids, system.new_address


class RetryingSender(Sender):
    """Repeats each message until it is accepted, as mail servers do."""

    def __init__(self, system, recipient):
        super().__init__(system, recipient)
        self.attempts = 0

    def call(self):
        self.attempts += 1
        super().call()

    def _sent(self):
        code, text = super()._sent()
        if code != 250:
            assert 400 <= code < 500, (code, text)
            raise smtplib.SMTPResponseException(code, text)  # the next attempt is on a new connection
        return code, text


class Pair:
    """Two servers on one database behind load balancers, and the settings that they share."""

    def __init__(self, home, url, calls, mail):
        self._home, self._calls, self._mail = home, calls, mail
        self._settings = home / "waypost.toml"
        self._settings.write_text("", encoding="utf-8")
        self._options = ("--database", url, "--config", str(self._settings), "--hostname", "mail.example")
        self._servers = {}

    def set(self, text):
        """Set the text of the settings file, which the next servers read."""
        self._settings.write_text(text, encoding="utf-8")

    def start(self, name, kind):
        """Start a server of a class on the data directory with this name."""
        server = kind(self._home / name, *self._options)
        server.start()
        self._servers[name] = server
        self._balance()
        return server

    def stop(self, name):
        assert self._servers.pop(name).stop() == 0
        self._balance()

    def kill(self, name):
        self._servers.pop(name).kill()
        self._balance()

    def end(self):
        for server in self._servers.values():
            end(server)

    def _balance(self):
        self._calls.servers = [tuple(server.run.http.rsplit(":", 1)) for server in self._servers.values()]
        self._mail.servers = [server.smtp for server in self._servers.values()]


with_previous = pytest.mark.skipif(
    not PREVIOUS.exists(), reason="the previous version is not installed (make .venv/previous), or not in this clone"
)


@with_previous
def test_an_sqlite_file_of_the_previous_version_is_migrated_and_the_previous_version_then_refuses_it(tmp_path):
    server = PreviousServer(tmp_path / "data", "--hostname", "mail.example")
    server.start()
    system = System(server)
    alias, primary = system.linked_pair()
    before = [system.deliver(HELLO, alias) for _ in range(3)]
    system.connect.close()
    server.stop()
    assert "17 versions" in waypost("migrate", "--plan", "--data", server.data).stdout
    server = testing.Server(tmp_path / "data", "--hostname", "mail.example")
    server.start()
    system = System(server)
    after = system.deliver(HELLO, alias)
    assert set(system.ids_at(primary)) == set(system.ids_at(alias)) == {*before, after}
    assert [system.raw(message_id, alias).endswith(HELLO) for message_id in before] == [True] * 3
    system.connect.close()
    server.stop()
    with pytest.raises(testing.ServerDied, match=r"knows schemas only up to 16\. A newer version"):
        PreviousServer(tmp_path / "data", "--hostname", "mail.example").start()


@with_previous
def test_a_rolling_upgrade_under_load_loses_and_doubles_nothing_and_fails_no_call(tmp_path, monkeypatch):
    monkeypatch.setenv(MASTER_KEY_VARIABLE, MASTER_KEY)
    with OwnServer() as database, Sink() as sink, Balancer() as calls, Balancer() as mail, ExitStack() as opened:
        url = database.new_database()
        pair = Pair(tmp_path, url, calls, mail)
        opened.callback(pair.end)
        system = System(pair.start("one", PreviousServer))
        alias, primary = system.linked_pair()
        relayed = system.new_address("relayed")
        relayed_id = system.ids[relayed]
        system.connect.close()
        pair.stop("one")
        pair.set(SETTINGS.format(relayed=relayed, to=sink.to))
        system = System(pair.start("one", PreviousServer))
        pair.start("other", PreviousServer)
        through = Through(system, calls, mail)
        writers = [Writer(through, retries={"mode": "standard"}) for _ in range(4)]
        system.connect.close()
        senders = [RetryingSender(through, alias) for _ in range(3)]
        relaying = [RetryingSender(through, relayed) for _ in range(3)]
        began = time.monotonic()
        with Load([*writers, *senders, *relaying]) as load:
            kills = list(replaced(pair, load, url, tmp_path))
        took = time.monotonic() - began
        assert errors_of(writers) == {}
        checker = System(pair.start("third", testing.Server))
        wait_until_sent(checker)
        for writer in writers:
            writer.check(checker)
        accepted, found = check_mail(checker, senders, alias, primary)
        checker.connect.close()
        taken = list(sink.taken)
    assert found - accepted <= unknown_outcomes(senders)
    times = Counter(one.delivery_id for one in taken)
    sent_on = {f"{message_id}.{relayed_id}" for sender in relaying for message_id in sender.ids}
    assert sent_on <= set(times)
    assert len(times) - len(sent_on) <= unknown_outcomes(relaying)
    _, doubled = why_doubled(taken, times, kills)
    done = sum(len(writer.done) for writer in writers)
    print(f"\nA rolling upgrade with {len(kills)} kills in {took:.0f} s: {done} calls, of which none failed after the")
    print(
        f"  retries of the AWS SDK; {accepted} messages to an alias got 250, and each exists once; {len(sent_on)} were"
    )
    print(
        f"  sent on, {doubled} of them twice, because of a kill between the peer's reply and the record of the outcome."
    )
    print(f"  Attempts that clients repeated: {errors_of([*senders, *relaying])}")


def replaced(pair, load, url, home):
    """Replace both servers with this version under load. Yield the time of each kill."""

    def more():
        load.wait_for_more(MORE, seconds=PATIENCE)

    def killed(name):
        load.wait_for_more(random.randint(1, 5), seconds=PATIENCE)
        at = time.monotonic()
        pair.kill(name)
        return at

    more()
    yield killed("other")
    pair.start("other", PreviousServer)  # before the migration, the previous version can start again
    more()
    migrated = waypost("migrate", "--run", "--database", url, "--data", home / "nothing")
    assert migrated.returncode == 0, migrated.stderr
    more()
    pair.stop("one")
    more()  # the other server, which has the previous version, continues on the migrated database
    pair.start("one", testing.Server)
    more()
    for _ in range(KILLS):
        yield killed("one")
        pair.start("one", testing.Server)
    more()
    yield killed("other")
    with pytest.raises(testing.ServerDied, match=r"knows schemas only up to 14\. A newer version"):
        pair.start("other", PreviousServer)
    pair.start("other", testing.Server)
    more()


def unknown_outcomes(senders):
    """Return how many attempts ended without 250. The sender has repeated them, but the message may exist already."""
    return sum(sender.attempts - len(sender.ids) for sender in senders)
