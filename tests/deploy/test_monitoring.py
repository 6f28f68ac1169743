"""The alert rules and the dashboard use metrics that exist, and a real Prometheus can use them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit.patience import PATIENCE
from waypost.observe.metrics import page
from waypost.observe.metrics.arrays import Arrays
from waypost.observe.metrics.families import FAMILIES, Kind

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
RULE_TESTS = RULES.with_name("alerts_test.yml")
DASHBOARD = ROOT / "deploy" / "grafana" / "waypost.json"
PAGE = ROOT / "docs" / "operations.md"

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: apt-get install --no-install-recommends prometheus"
)


def promtool(*words, text=None):
    """Run promtool, which must succeed and print no problem."""
    done = subprocess.run(
        [PROMTOOL, *map(str, words)], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def alerts():
    return re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8"))


def queries():
    """Yield the title of each panel of the dashboard with each of its queries."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def names():
    """Return the names of all series that the page has."""
    for family in FAMILIES:
        yield from (
            (f"{family.name}_{each}" for each in ("bucket", "count", "sum"))
            if family.kind is Kind.HISTOGRAM
            else (family.name,)
        )


@pytest.mark.parametrize(
    "text", [RULES.read_text("utf-8"), RULE_TESTS.read_text("utf-8"), DASHBOARD.read_text("utf-8")]
)
def test_the_files_name_only_metrics_that_exist(text):
    assert set(re.findall(r"\bwaypost_\w+", text)) <= set(names())


def test_the_dashboard_shows_each_metric():
    shown = " ".join(query for _, query in queries())
    assert [family.name for family in FAMILIES if family.name not in shown] == []


def test_each_alert_has_a_test_and_a_section_of_the_page():
    tested = re.findall(r"alertname: (\w+)", RULE_TESTS.read_text(encoding="utf-8"))
    sections = re.findall(r"^### (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert alerts() == sections
    assert set(alerts()) == set(tested)


def test_each_alert_names_its_section_of_the_page():
    named = dict(re.findall(r"- alert: (\w+)\n(?:.+\n)*? +runbook: (\S+)", RULES.read_text(encoding="utf-8")))
    assert named == {alert: f"{PAGE.relative_to(ROOT)}#{alert.lower()}" for alert in alerts()}


def test_each_panel_has_a_place_of_its_own_and_an_id_of_its_own():
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set()
    for panel in panels:
        place = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells
        assert max(x for x, _ in taken) < 24
        cells |= taken


@needs_promtool
def test_promtool_finds_no_fault_in_the_page():
    gauges = [(family, labels, 1.0) for family in FAMILIES if family.kind is Kind.GAUGE for labels in family.series]
    body, _ = page.rendered(Arrays().totals(), gauges, "text/plain")
    assert promtool("check", "metrics", "--extended", text=body.decode())


@needs_promtool
def test_promtool_finds_no_fault_in_the_alert_rules():
    assert f"{len(alerts())} rules found" in promtool("check", "rules", RULES)


@needs_promtool
def test_the_tests_of_the_alert_rules_pass():
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)
