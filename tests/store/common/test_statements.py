"""The statements that a migration may have, and what it means for clients of the database."""

import pytest

from waypost.app.ports.upgrades import Blocks, Effect, Lasts
from waypost.store import migrations
from waypost.store.migrations import statements

NUMBER = 900

PROBLEMS = {
    "CREATE INDEX a ON messages (size)": "CREATE INDEX CONCURRENTLY IF NOT EXISTS",
    "CREATE UNIQUE INDEX a ON messages (size)": "CREATE INDEX CONCURRENTLY IF NOT EXISTS",
    "CREATE INDEX CONCURRENTLY a ON messages (size)": "CREATE INDEX CONCURRENTLY IF NOT EXISTS",
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON messages (size)": "a migration of another kind",
    "DROP INDEX a": "DROP INDEX CONCURRENTLY IF EXISTS",
    "ALTER TABLE messages ADD COLUMN a BIGINT CONSTRAINT a CHECK (a > 0)": "without a constraint",
    "ALTER TABLE messages ADD COLUMN a BIGINT NOT NULL DEFAULT random()": "constant default",
    "ALTER TABLE messages ADD COLUMN a BIGINT GENERATED ALWAYS AS IDENTITY": "constant default",
    "ALTER TABLE messages ADD CONSTRAINT a CHECK (size > 0)": "NOT VALID",
    "ALTER TABLE messages VALIDATE CONSTRAINT a": "a migration of another kind",
    "ALTER TABLE messages ALTER COLUMN size TYPE NUMERIC": "a new column",
    "ALTER TABLE messages ALTER COLUMN size SET NOT NULL": "a new column",
    "ALTER TABLE messages DROP COLUMN size": "-- needs: NNNN",
    "DROP TABLE messages": "-- needs: NNNN",
    "ALTER TABLE messages RENAME COLUMN size TO length": "renames",
    "UPDATE messages SET size = 0": "a background job",
    "INSERT INTO messages SELECT 1": "a background job",
    "VACUUM FULL messages": "a statement that the rules list",
    "ALTER TABLE messages ADD COLUMN a TEXT; ALTER TABLE queue ADD COLUMN a TEXT": "locks messages, queue until",
}
"""Statements that a migration of the kind `transaction` must not have, and what the message says."""

ALLOWED = {
    "CREATE TABLE a (b TEXT); CREATE INDEX c ON a (b); INSERT INTO a VALUES (';')": "transaction",
    "ALTER TABLE messages ADD COLUMN a TEXT COLLATE \"C\" NOT NULL DEFAULT ''": "transaction",
    "ALTER TABLE queue ADD COLUMN a BIGINT NOT NULL DEFAULT 0; ALTER TABLE queue ADD COLUMN b BIGINT": "transaction",
    "ALTER TABLE messages ALTER COLUMN size DROP NOT NULL": "transaction",
    "ALTER TABLE messages DROP COLUMN size -- needs": "transaction",
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON messages (size); DROP INDEX CONCURRENTLY IF EXISTS b": "concurrently",
    "ALTER TABLE messages ADD CONSTRAINT a CHECK (size > 0) NOT VALID; ALTER TABLE messages VALIDATE CONSTRAINT a": (
        "concurrently"
    ),
}


def a_migration(sql, kind="transaction", more=""):
    return migrations.parsed(
        NUMBER, "a_test", f"-- It does a thing. It has reasons.\n-- kind: {kind}\n{more}\n{sql};\n"
    )


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_no_migration_blocks_clients_or_breaks_the_previous_version(dialect):
    assert [fault for step in migrations.known(dialect) for fault in statements.faults(step, dialect)] == []


@pytest.mark.parametrize(("sql", "said"), PROBLEMS.items(), ids=PROBLEMS)
def test_a_statement_that_may_block_clients_or_break_the_previous_version_is_found(sql, said):
    faults = list(statements.faults(a_migration(sql), "postgres"))
    assert faults
    assert all(fault.startswith("0900_a_test.postgres.sql ") for fault in faults)
    assert said in " ".join(faults)


@pytest.mark.parametrize(("sql", "kind"), ALLOWED.items(), ids=ALLOWED)
def test_a_statement_that_does_not_block_clients_is_allowed(sql, kind):
    more = "-- needs: 14\n" if "needs" in sql else ""
    assert list(statements.faults(a_migration(sql, kind, more), "postgres")) == []


def test_a_new_migration_declares_its_kind():
    undeclared = migrations.parsed(NUMBER, "a_test", "-- It does a thing.\nCREATE TABLE a (b TEXT);\n")
    (fault,) = statements.faults(undeclared, "sqlite")
    assert "declares no kind" in fault
    assert not list(statements.faults(migrations.parsed(14, "a_test", undeclared.sql), "postgres"))


def test_sqlite_has_no_concurrent_migrations():
    (fault,) = statements.faults(a_migration("CREATE TABLE a (b TEXT)", "concurrently"), "sqlite")
    assert "SQLite has one writer" in fault


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'slowly' is not a valid Kind"):
        a_migration("CREATE TABLE a (b TEXT)", "slowly")


def test_the_first_sentence_of_the_comment_says_what_a_migration_does():
    assert a_migration("").what == "It does a thing."
    assert all(step.what.endswith(".") for dialect in ("sqlite", "postgres") for step in migrations.known(dialect))


def test_the_effects_of_a_migration_are_those_on_tables_that_exist():
    changed = "ALTER TABLE messages ADD COLUMN d TEXT; UPDATE queue SET x = 1"
    assert statements.effects(a_migration(f"CREATE TABLE a (b TEXT); CREATE INDEX c ON a (b); {changed}")) == [
        Effect("messages", Blocks.EVERYTHING, Lasts.MOMENT),
        Effect("queue", Blocks.WRITES, Lasts.ROWS),
    ]
    reading = a_migration("CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON messages (size)", "concurrently")
    assert statements.effects(reading) == [Effect("messages", Blocks.NOTHING, Lasts.ROWS)]


def test_the_rules_know_every_statement_of_every_migration_of_postgresql():
    unknown = [
        statement
        for step in migrations.known("postgres")
        for statement in statements.statements(step.sql)
        if not any(rule.pattern.match(statement) for rule in statements.RULES)
    ]
    assert unknown == []


def test_comments_and_texts_do_not_divide_statements():
    sql = "-- It's one; it is.\nINSERT INTO a VALUES ('--; ''', 1); -- the end;\nDROP\n  TABLE a"
    assert statements.statements(sql) == ["INSERT INTO a VALUES ('--; ''', 1)", "DROP TABLE a"]
