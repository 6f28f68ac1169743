"""Tests that stop and kill PostgreSQL and servers under load: all acknowledged data exists exactly once."""

import itertools
import random
import time

from proofs.load import Load, Sender, Writer, check_mail, errors_of
from tests.e2e.stores.test_crash import survive
from tests.kit.servers.running import System, restart, running_on
from tests.kit.stores.postgresql import OwnServer
from waypost import testing

RESTARTS = 30
ASLEEP = {"synchronous_commit": "off", "wal_writer_delay": "10s"}
"""Settings with which PostgreSQL acknowledges commits that are not on disk, unless Waypost overrides them."""
KILLS = 20


def test_postgresql_is_restarted_thirty_times_under_load_and_nothing_acknowledged_is_lost(tmp_path):
    with (
        OwnServer(**ASLEEP) as database,
        running_on(database.new_database(), tmp_path / "one", tmp_path / "other") as systems,
    ):
        alias, primary = systems[0].linked_pair()
        writers = [Writer(system) for system in systems for _ in range(2)]
        senders = [Sender(system, alias) for system in systems for _ in range(2)]
        callers, back = [*writers, *senders], []
        began = time.monotonic()
        with Load(callers) as load:
            for _, how in zip(range(RESTARTS), itertools.cycle(["fast", "immediate", "kill -9"]), strict=False):
                load.wait_for_more(random.randint(10, 80))
                if how == "kill -9":
                    database.kill()
                else:
                    database.stop(how)
                database.start()
                started = time.monotonic()
                load.wait_for_more(3)
                back.append(max(next(at for at in caller.done if at > started) for caller in callers) - started)
        took = time.monotonic() - began
        assert all(system.server._process.poll() is None for system in systems)
        checker = random.choice(systems)
        for writer in writers:
            writer.check(checker)
        accepted, found = check_mail(checker, senders, alias, primary)
        assert all(system.deliver(b"Subject: last\r\n\r\n", alias) for system in systems)
    calls = sum(len(writer.done) for writer in writers)
    print(f"\n{RESTARTS} restarts of PostgreSQL (fast, immediate, kill -9 in turn) in {took:.0f} s:")
    print(f"  {calls} calls and {accepted} messages acknowledged, none lost; {found - accepted} others also exist")
    print(f"  errors of calls {errors_of(writers)}, of mail {errors_of(senders)}")
    print(f"  all callers succeeded again after {', '.join(f'{each:.2f}' for each in back)} s")


def test_killing_a_node_twenty_times_while_it_receives_mail_does_not_affect_the_other_node(pair):
    killed, other = pair
    alias, primary = other.linked_pair()
    victims = [Sender(killed, alias) for _ in range(4)]
    writers, senders = [Writer(other) for _ in range(2)], [Sender(other, alias) for _ in range(2)]
    bystanders = [*writers, *senders]
    began = time.monotonic()
    with Load([*victims, *bystanders]) as load:
        for _ in range(KILLS):
            load.wait_for_more(random.randint(1, 20), of=victims)
            killed.server.kill()
            load.wait_for_more(5, of=bystanders)
            restart(killed.server)
    took = time.monotonic() - began
    assert errors_of(bystanders) == {}
    for writer in writers:
        writer.check(other)
    accepted, found = check_mail(other, [*victims, *senders], alias, primary)
    again = System(killed.server)
    assert again.deliver(b"Subject: last\r\n\r\n", alias)
    again.connect.close()
    print(f"\n{KILLS} kills of a node in {took:.0f} s: {accepted} messages got 250, and each exists once;")
    print(f"  {found - accepted} others also exist. The other node: {sum(len(w.done) for w in writers)} calls and")
    print(f"  {sum(len(s.done) for s in senders)} messages, no error. Errors at the killed node: {errors_of(victims)}")


def test_a_server_on_sqlite_that_is_killed_forty_times_while_it_receives_mail_loses_no_message(tmp_path):
    began = time.monotonic()
    answered = survive(testing.Server(tmp_path / "data"), 2 * KILLS)
    took = time.monotonic() - began
    print(f"\n{2 * KILLS} kills of a server on SQLite in {took:.0f} s: {answered} messages got 250, none lost")
