"""The copy of a PostgreSQL database in an SQLite file."""

from waypost.store.sqlite import copies


def test_the_commit_that_completes_a_copy_is_synced_also_if_a_client_prevents_the_checkpoint(tmp_path):
    ran = []
    with copies.target(tmp_path / "copy.sqlite3", "d") as made, copies.target(tmp_path / "copy.sqlite3", "d") as other:
        made.build(lambda *_: None)
        other._run("BEGIN")
        other.count(other.tables()["messages"])
        made._run("PRAGMA busy_timeout = 0")
        made._connection.set_trace_callback(ran.append)
        made.complete(dict.fromkeys(made.counters(), 0))
        ((level,),) = made._run("PRAGMA synchronous")
        assert level == 2  # FULL
        assert ran.index("PRAGMA synchronous = FULL") < ran.index("COMMIT")
        other._run("COMMIT")
