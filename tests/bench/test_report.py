"""The tables, plots and page that are made from the figures of a run."""

import json
from xml.etree import ElementTree as ET

import page
import plots
import pytest
import report
import svg
from table import Target

MEASURED = {
    "messages": [100, 100],
    "accepted": [900.0, 1100.0],
    "delivered": [800.0, 1200.0],
    "p50": [1.0, 1.2],
    "p99": [4.0, 6.0],
    "cpu": [500.0, 510.0],
    "generator_cpu": [100.0, 120.0],
}
LATENCY = {"count": 20, "p50": 1.1, "p99": 5.0}
SLOWER = MEASURED | {"delivered": [200.0, 400.0]}
CALLS = {"per_second": [1000.0, 1200.0], "p50": [1.0, 1.1], "p99": [30.0, 20.0], "cpu": [80.0, 90.0]}


@pytest.fixture
def run():
    kept = {
        "id": "kept",
        "path": "inbox",
        "title": "the base case",
        "figures": {"Waypost, SQLite": MEASURED, "Postfix 3.7": SLOWER},
        "latency": {"Waypost, SQLite": LATENCY, "Postfix 3.7": LATENCY},
        "failed": {"Exim 4": "waited 60 s"},
    }
    conditions = {"processor": "A <fast> one", "cores": 2, "generator_cores": 2, "cores_shared": True, "load": 0.1}
    conditions |= {"system": "Debian", "python": "3.11", "file_system": "ext4", "generator": "smtp-source"}
    conditions |= {"rounds": 2, "run_seconds": 1.5, "date": "2026-11-30", "minutes": 3.2}
    durability = {"before": ["rename active/…", "fsync incoming/…"], "after": []}
    told = {"keeps": "in its queue", "path": "inbox", "idle": 60.0, "durability": durability}
    return {
        "conditions": conditions,
        "missing": {"OpenSMTPD": "no root directory"},
        "servers": {"Waypost, SQLite": told | {"loaded": 70.0}, "Postfix 3.7": told | {"durability": "no strace"}},
        "cases": [kept],
        "api": {"echo": {"bare ASGI echo": CALLS}, "describe": {"Waypost, SQLite": CALLS}},
        "process": {"start": 0.5},
    }


def row(table, name):
    (found,) = [line for line in table.splitlines() if line.replace("*", "").startswith(f"| {name} ")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_case_shows_medians_ranges_and_the_ratio_of_the_rounds(run):
    table = report.mail(run["cases"][0], run)
    assert row(table, "Waypost, SQLite")[1:] == [
        *("1 `fsync`", "1,000 (800–1,200)", "1.1 ms", "5.0 ms", "505 µs", "110 µs", "")
    ]
    assert row(table, "Postfix 3.7")[-1] == "3.50 ×"
    assert row(table, "Exim 4")[1] == "failed: waited 60 s"


def test_a_case_without_figures_names_the_reasons(run):
    empty = run["cases"][0] | {"figures": {}, "failed": {}}
    assert report.mail(empty, run) == "Not measured: OpenSMTPD: no root directory"


def test_the_table_of_servers_has_syncs_before_names_and_all_missing_servers(run):
    table = report.servers(run)
    assert row(table, "Waypost, SQLite")[2] == "`fsync incoming/…`, `rename active/…`"
    assert row(table, "Postfix 3.7")[2] == "no strace"
    assert row(table, "OpenSMTPD")[1] == "not measured: no root directory"


def test_a_new_name_alone_is_not_a_sync():
    assert report._synced(["rename queue/…"]) == "nothing (`rename queue/…`)"
    assert report._synced([]) == "nothing"


def test_the_conditions_say_whether_cores_were_shared_and_whether_other_programs_ran(run):
    assert "A <fast> one, 2 cores; the load generators run on the same cores" in report.conditions(run)
    assert "Other programs" not in report.conditions(run)
    busy = run["conditions"] | {"load": 7.0, "cores_shared": False, "cores": 8}
    text = report.conditions(run | {"conditions": busy})
    assert "have 2 of them, which no server uses" in text
    assert "Other programs ran at the same time (load average 7.0" in text
    from_proc = report.conditions(run | {"conditions": busy | {"processor_time": "/proc"}})
    assert "the time of Exim's ended delivery processes is missing" in from_proc


def test_targets_that_were_not_measured_say_so(run):
    table = report.targets(run)
    assert "| 2 workers ÷ 1 worker " in table
    assert row(table, "2 workers ÷ 1 worker")[1] == "not measured"
    assert row(table, "start to first replies")[1:] == ["0.50 s", "≤ 0.6 s", "yes"]


@pytest.mark.parametrize(
    ("target", "figure", "verdict"),
    [
        (Target(5, " ×"), 5.0, "yes"),
        (Target(5, " ×"), 4.9, "no"),
        (Target(5, " ×", least=3), 3.0, "nearly"),
        (Target(25, " ms", at_most=True), 25.1, "no"),
        (Target(25, " ms", at_most=True), 2.0, "yes"),
    ],
)
def test_the_verdict_on_a_target(target, figure, verdict):
    assert target.verdict(figure) == verdict


def test_each_plot_is_valid_xml_with_the_names_of_the_servers(run):
    drawn = plots.drawn(run)
    for name, text in drawn.items():
        assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg", name
    assert "Postfix 3.7" in drawn["kept.svg"]
    assert "prefers-color-scheme: dark" in drawn["sizes.svg"]


def test_the_longest_bar_and_its_range_stay_inside_the_chart():
    text = svg.bars("t", [svg.Bar("a & b", 10, 5, 40), svg.Bar("c", 0, 0, 0)])
    root = ET.fromstring(text)
    ends = [float(line.attrib["x2"]) for line in root.iter("{http://www.w3.org/2000/svg}line")]
    assert max(ends) <= svg.WIDTH - svg.RIGHT
    assert "a &amp; b" in text


def test_names_of_lines_do_not_overlap():
    assert svg.spread([1, 2, 3, 100], 16) == [1, 17, 33, 100]


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12,346"), (3.14159, "3.1"), (0.0123, "0.012"), (10, "10")])
def test_numbers_have_about_three_digits(value, text):
    assert svg.number_of(value) == text


def test_only_the_generated_parts_of_a_page_change():
    text = "a\n<!-- generated: one -->\nold\n<!-- end -->\nb\n<!-- generated: two -->\n<!-- end -->\n"
    filled = page.filled(text, {"one": "new | table"})
    assert "new | table" in filled
    assert "old" not in filled
    assert "Not measured in this run." in filled
    assert page.filled(filled, {"one": "new | table"}) == filled


def test_the_page_and_the_plots_are_generated_from_the_figures():
    for path, text in page.written(json.loads(page.FIGURES.read_text(encoding="utf-8"))).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run .venv/bin/python bench/page.py"


@pytest.mark.parametrize(
    ("server", "path", "expected"),
    [
        ({"path": "inbox", "durability": {"before": ["3 × fsync a/…", "fsync b", "rename c"]}}, "inbox", "4 `fsync`"),
        (
            {"path": "inbox", "durability": {"before": ["fsync a", "2 × fdatasync b"]}},
            "relay",
            "1 `fsync`, 2 `fdatasync`",
        ),
        ({"path": "inbox", "durability": {"before": ["rename c"]}}, "inbox", "nothing"),
        ({"path": "relay", "durability": {"before": ["fsync a"]}}, "relay", "1 `fsync`"),
        ({"path": "relay", "durability": {"before": ["fsync a"]}}, "inbox", "nothing"),
        ({"path": "inbox", "durability": "strace is not installed"}, "inbox", "not known"),
        (None, "inbox", "not known"),
    ],
)
def test_each_case_tells_what_a_server_syncs_before_the_reply(server, path, expected):
    assert report.synced_before(server, path) == expected
