"""The parts of a soak that decide and draw: whether a quantity grows, and the chart of a run."""

import sqlite3
import time
import xml.etree.ElementTree as ET
from contextlib import closing

import pytest

from faults.soak import charts
from faults.soak.growth import LIMITS, Limit, judged
from faults.soak.place import data_of

LIMIT = Limit("MB", share=0.1, amount=2.0)


@pytest.mark.parametrize(
    ("values", "grows"),
    [
        pytest.param([100.0] * 40, False, id="constant"),
        pytest.param([*range(40)], True, id="steady growth"),
        pytest.param([*range(10), *[100.0] * 30], False, id="growth in the first quarter only"),
        pytest.param([100.0] * 20 + [111.0] * 20, False, id="growth below the limit"),
        pytest.param([100.0] * 20 + [113.0] * 20, True, id="growth above the limit"),
        pytest.param([100.0] * 30 + [100.0] * 9 + [500.0], False, id="one high value at the end"),
        pytest.param([100.0] * 10 + [500.0] * 4 + [100.0] * 26, False, id="high values for a moment"),
        pytest.param([100.0, 100.0, 100.0, 113.0], True, id="four values"),
    ],
)
def test_a_quantity_grows_if_its_last_quarter_is_higher_than_its_second(values, grows):
    assert judged(values, LIMIT).grows is grows


def test_a_quantity_without_a_limit_is_only_measured():
    verdict = judged([*range(40)], Limit("MB"))
    assert (verdict.before, verdict.after, verdict.grows) == (14.5, 34.5, False)


def test_the_data_of_a_database_is_measured_for_each_message_and_each_remembered_call(tmp_path):
    file = tmp_path / "waypost.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        has_dbstat = database.execute("SELECT sqlite_compileoption_used('ENABLE_DBSTAT_VTAB')").fetchone() == (1,)
        database.execute("PRAGMA page_size = 4096")
        database.executescript("CREATE TABLE messages (received_at, body); CREATE TABLE remembered_calls (answer)")
        received = round((time.time() - 300) * 1e3)
        database.executemany("INSERT INTO messages VALUES (?, zeroblob(2500))", [(received + n,) for n in range(10)])
        database.executemany("INSERT INTO remembered_calls VALUES (zeroblob(1000))", [()] * 40)
        database.commit()
    measured = data_of(file)
    assert 300 <= measured["age of the oldest message"] < 600
    assert set(measured) < set(LIMITS)
    if has_dbstat:
        assert measured["database for each message"] == pytest.approx(4.5, abs=0.5)
        assert measured["database for each remembered call"] == pytest.approx(1.15, abs=0.1)


def test_a_quantity_of_which_each_more_is_a_leak_may_grow_by_a_few_only():
    assert judged([20.0] * 20 + [30.0] * 20, LIMITS["descriptors"]).grows
    assert not judged([20.0] * 20 + [23.0] * 20, LIMITS["descriptors"]).grows


def test_the_chart_has_a_line_for_each_quantity_and_a_mark_for_each_fault():
    series = {"memory <MB>": [(0.0, 1.0), (60.0, 2.0)], "threads": [(0.0, 0.0)], "nothing measured": []}
    image = ET.fromstring(charts.drawn(series, [(30.0, "worker is killed")]))
    space = "{http://www.w3.org/2000/svg}"
    assert [line.get("points") for line in image.iter(f"{space}polyline")] == ["70.0,65.0 690.0,30.0", "70.0,210.0", ""]
    marks = [line for line in image.iter(f"{space}line") if line.get("class") == "fault"]
    assert [mark.get("x1") for mark in marks] == ["380.0"] * 3
    assert "memory <MB>" in [text.text for text in image.iter(f"{space}text")]
