"""The curves of `make growth`: the fitted order, the table, the chart, and the markers in the page."""

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))
import growth_curves

SIZES = (10, 100, 1_000)
FLAT = dict.fromkeys(SIZES, 2.0)
LINEAR = {size: size / 10 for size in SIZES}
ROOT = {size: size**0.5 for size in SIZES}


@pytest.mark.parametrize(("curve", "order", "ratio"), [(FLAT, 0, 1), (LINEAR, 1, 100), (ROOT, 0.5, 10)])
def test_the_order_is_the_exponent_of_the_growth(curve, order, ratio):
    assert growth_curves.order(curve) == pytest.approx(order)
    assert growth_curves.ratio(curve) == pytest.approx(ratio)


def test_the_order_is_fitted_to_all_points():
    assert growth_curves.order({1: 1.0, 10: 10.0, 100: 1.0}) == pytest.approx(0)


def test_the_table_has_a_row_for_each_operation():
    lines = growth_curves.table({"flat": FLAT, "linear": LINEAR}, {"flat": 3.0, "linear": 123.46}).splitlines()
    assert lines[0] == "| operation | 10 | 100 | 1,000 | × in all | order | p99 at 1,000 |"
    assert lines[3] == "| linear | 1.00 | 10.00 | 100.00 | 100.00 | +1.00 | 123.5 |"
    assert len(lines) == 4


def test_operations_that_grow_by_more_than_the_target_are_named():
    assert growth_curves.not_flat({"flat": FLAT, "linear": LINEAR}) == ["linear"]


def test_the_chart_is_an_svg_with_a_line_for_each_operation_and_store():
    stores = {"one": {"flat": FLAT, "a & b": LINEAR}, "two": {"flat": FLAT, "a & b": ROOT}}
    root = ET.fromstring(growth_curves.chart("A <title>", stores))
    name = "{http://www.w3.org/2000/svg}"
    lines = root.findall(f"{name}polyline")
    assert len(lines) == 6, "two operations on two stores, and the legend"
    flat, rising = ([float(point.split(",")[1]) for point in line.get("points").split()] for line in lines[:2])
    assert len(set(flat)) == 1
    assert rising == sorted(rising, reverse=True)
    texts = [text.text for text in root.iter(f"{name}text")]
    assert {"one", "two", "flat", "a & b", "10¹", "10³"} <= set(texts)


def test_only_the_text_between_the_markers_is_replaced():
    page = "before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n"
    assert growth_curves.between(page, "a", "new") == "before\n<!-- a -->\n\nnew\n\n<!-- end of a -->\nafter\n"
    with pytest.raises(ValueError, match="no markers for b"):
        growth_curves.between(page, "b", "new")
