"""Tests that concurrent calls on two servers are linearizable, and that they are not without the row locks."""

import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import waypost
from tests.e2e.stores.test_postgresql_histories import recorder_on
from tests.kit.servers.running import running_on
from tests.kit.stores import postgresql
from tests.linearizability.checker import check

HISTORIES = 300
CALLS = 8
"""The number of calls of each of the six clients in one history."""


def test_three_hundred_histories_on_two_nodes_are_linearizable(pair):
    counts, violations, took = record(pair)
    print("\n" + report(counts, violations, took))
    assert not violations


def test_the_checker_finds_violations_if_the_row_locks_are_removed(tmp_path, monkeypatch):
    source = without_locks(tmp_path / "copy")
    monkeypatch.setenv("PYTHONPATH", str(source))
    where = subprocess.run(
        [sys.executable, "-c", "import waypost; print(waypost.__file__)"], capture_output=True, text=True, check=True
    )
    assert Path(where.stdout.strip()).is_relative_to(source)
    url = postgresql.new_database()
    with running_on(url, tmp_path / "one", tmp_path / "other") as systems:
        counts, violations, took = record(systems)
    postgresql.drop_database(url)
    print("\n" + report(counts, violations, took))
    print(
        "Operations that could not come next:",
        Counter(what(each) for violation in violations for each in violation.stuck),
    )
    assert violations
    print(min(violations, key=lambda violation: len(violation.order)))


def without_locks(copy):
    """Copy the package without the row locks on email addresses, and return the directory of the copy."""
    shutil.copytree(Path(waypost.__file__).parent, copy / "waypost", ignore=shutil.ignore_patterns("__pycache__"))
    queries = copy / "waypost" / "store" / "sql" / "postgres" / "directory.sql"
    text = queries.read_text(encoding="utf-8")
    assert text.count("ORDER BY e.id FOR UPDATE OF e;") == 1
    queries.write_text(text.replace("ORDER BY e.id FOR UPDATE OF e;", "ORDER BY e.id;"), encoding="utf-8")
    return copy


def record(systems):
    """Record and check histories; return the counts of the outcomes, the violations, and the duration in seconds."""
    counts, violations, began = Counter(), [], time.monotonic()
    with recorder_on(*systems) as recorder:
        for _ in range(HISTORIES):
            history = recorder.history(CALLS)
            counts.update(f"{each.kind}: {answered(each.outcome)}" for each in history)
            if violation := check(history):
                violations.append(violation)
        print(f"\nThe database's constraint, not the rule, refused {recorder.caught_by_constraint} associations")
    return counts, violations, time.monotonic() - began


def report(counts, violations, took):
    answers = "".join(f"\n  {count:6} {what}" for what, count in sorted(counts.items()))
    return (
        f"{HISTORIES} histories of {sum(counts.values()) // HISTORIES} calls by six clients in {took:.0f} s, "
        f"with {len(violations)} violations{answers}"
    )


def answered(outcome):
    return ("an alias" if outcome else "no alias") if isinstance(outcome, tuple) else outcome or "unknown"


def what(operation):
    return f"{operation.kind} → {answered(operation.outcome)}"
