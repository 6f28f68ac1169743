"""Plots as SVG: the sizes of bars, the labels, and text that is escaped."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest

from waypost.console import plots
from waypost.console.plots import Series

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
TIMES = [NOON + timedelta(minutes=minute) for minute in range(60)]


def stacked(*series, title="Mail"):
    return ET.fromstring(plots.stacked(title, TIMES, series, label_every=10))


def test_bars_of_several_series_are_stacked():
    svg = stacked(Series("delivered", "fill-green", [0] * 59 + [2]), Series("refused", "fill-red", [0] * 59 + [2]))
    green, red = (group[0] for group in svg if group.tag == "g" and group.get("class"))
    half = (plots.HEIGHT - plots.TOP - plots.BOTTOM) / 2
    assert {float(bar.get("height")) for bar in (green, red)} == {half}
    assert float(red.get("y")) == plots.TOP
    assert float(green.get("y")) == plots.TOP + half
    assert [title.text for title in svg.iter("title")] == ["12:59 UTC: 2 delivered, 2 refused"]


def test_a_plot_without_values_has_axes_and_labels_alone():
    svg = stacked(Series("delivered", "fill-green", [0] * 60))
    assert list(svg.iter("rect")) == []
    assert [text.text for text in svg.iter("text")] == ["0", "1", "12:09", "12:19", "12:29", "12:39", "12:49", "12:59"]


def test_text_in_a_plot_is_escaped():
    assert "<b>" not in plots.stacked("<b>", [NOON], [Series("<b>", "fill-red", [1])], label_every=1)
    assert "<b>" not in plots.sparkline("<b>", [1])


@pytest.mark.parametrize("draw", [plots.sparkline("x", [0, 3, 0]), plots.stacked("x", [NOON], [], label_every=1)])
def test_a_plot_has_no_styles_which_the_policy_of_the_page_forbids(draw):
    assert "style" not in draw


@pytest.mark.parametrize(
    ("value", "limit"), [(0, 1), (1, 1), (2, 2), (3, 4), (5, 10), (11, 20), (99, 100), (101, 200), (4001, 10000)]
)
def test_the_scale_ends_at_a_round_number(value, limit):
    assert plots.nice_limit(value) == limit


def test_a_sparkline_of_nothing_is_at_the_bottom():
    points = ET.fromstring(plots.sparkline("nothing", [0, 0])).find("polyline").get("points")
    assert points == "0.0,22.0 120.0,22.0"
