"""Tests that exactly one of several conflicting associations succeeds, and that servers can start at the same time."""

import time

import psycopg

from tests.e2e.stores.test_postgresql import conflicting_rounds
from tests.kit.servers.running import running_on
from tests.kit.stores import postgresql

ROUNDS = 500
STARTS = 10


def test_exactly_one_of_four_conflicting_associations_on_two_nodes_succeeds_500_times(pair):
    began = time.monotonic()
    winners = conflicting_rounds(pair, ROUNDS)
    took = time.monotonic() - began
    print(f"\n{ROUNDS} rounds of four conflicting associations in {took:.0f} s: successes {sorted(set(winners))}")
    assert winners == [1] * ROUNDS


def test_three_nodes_that_start_together_on_an_empty_database_share_one_key_and_one_instance(tmp_path):
    for n in range(STARTS):
        url = postgresql.new_database()
        with running_on(url, *(tmp_path / f"{n}.{i}" for i in range(3))) as systems:
            assert len({system.instance_id for system in systems}) == 1
            assert len({system.server.profile for system in systems}) == 1
        with psycopg.connect(url) as admin:
            counts = [
                admin.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("access_keys", "instances")
            ]
        postgresql.drop_database(url)
        assert counts == [1, 1]
    print(f"\nstarted three nodes together on an empty database {STARTS} times: one key and one instance each time")
