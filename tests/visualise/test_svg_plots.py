import math
import xml.etree.ElementTree as ET

import pytest

from mien.visualise.svg_plots import Curve, DotRow, Level, dot_plot, intensity_strip, line_chart


def test_a_curve_breaks_where_it_is_not_defined_and_is_valid_xml():
    chart = line_chart("loss", [Curve("a", [0, 1, 2, 3, 4], [1, 2, math.nan, 3, 1])], note="<lower> & better")
    assert [len(line.get("points").split()) for line in ET.fromstring(chart).iter("polyline")] == [2, 2]


def test_the_axis_holds_the_level_too():
    chart = ET.fromstring(line_chart("loss", [Curve("a", [0, 1], [1, 2])], levels=[Level("chance", 5)]))
    assert "5" in [text.text for text in chart.iter("text")]


def test_a_chart_without_values_says_so():
    assert "no values" in line_chart("loss", [Curve("a", [0], [math.nan])])


def test_a_dot_lies_farther_right_the_greater_its_value_and_an_undefined_one_is_not_drawn():
    plot = dot_plot([DotRow("AU1", [0.6, 0.9, math.nan])], ["a", "b", "c"], low=0.5, high=1, middle=0.5)
    dots = {dot.get("class"): float(dot.get("cx")) for dot in ET.fromstring(plot).iter("circle")}
    assert set(dots) == {"s0", "s1"} and dots["s0"] < dots["s1"]


def test_a_strip_is_darkest_where_intensity_is_greatest():
    strip = ET.fromstring(intensity_strip([("AU1", [0, 1.0, 5.0])], greatest=5.0))
    assert [rect.get("fill-opacity") for rect in strip.iter("rect")] == ["0.20", "1.00"]


@pytest.mark.parametrize("name", ["<script>", 'a "quoted" & b'])
def test_names_are_escaped(name):
    ET.fromstring(dot_plot([DotRow(name, [0.7])], [name], low=0.5, high=1, middle=0.5))
    ET.fromstring(line_chart(name, [Curve(name, [0, 1], [0, 1]), Curve("b", [0, 1], [1, 0])]))
