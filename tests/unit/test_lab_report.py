"""What the lab shows in the end: the table and the page."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from lab.measuring.sampler import Series
from lab.processes import ToolMissing
from lab.rendering import page, picture, plot, table
from lab.rendering.outcome import Outcome, attempt
from lab.rendering.result import Result


@pytest.fixture
def result():
    series = Series(
        seconds=4.0,
        answers=[(0.2, "200"), (0.3, "200"), (1.0, "504"), (3.9, "no answer")],
        queue=[(0.1, 0), (2.0, 65), (3.9, 3)],
        blocked=[(0.1, 0), (2.0, 4)],
        moments=[(1.0, "upstream hangs"), (1.2, "and <recovers>")],
    )
    found = Result("hung-upstream", protected=True, seen="0 harakiris", series=series)
    found.check("no harakiri", truth=True)
    return found


def test_answers_per_second_are_counted_in_bins(result):
    rates = result.series.answers_per_second(0.5)
    assert rates["200"][0] == 4.0
    assert rates["504"][2] == 2.0
    assert sum(map(sum, rates.values())) == 8.0


def test_a_missing_tool_is_shown_as_skipped_and_is_no_failure():
    def run(protected):
        raise ToolMissing("nginx not found")

    outcome = attempt(run, protected=False)
    assert outcome.as_described
    assert "skipped: nginx not found" in table.render({"hung-upstream": [outcome]})
    assert "skipped: nginx not found" in page.render({"hung-upstream": [outcome]}, 1.0)


def test_an_experiment_that_breaks_off_is_a_failure_and_says_why():
    def run(protected):
        raise ValueError("no such thing")

    outcome = attempt(run, protected=True)
    assert not outcome.as_described
    assert "no such thing" in outcome.words


def test_a_statement_that_is_not_true_is_said_in_the_table_and_on_the_page(result):
    result.check("the sky is green", truth=False)
    outcomes = {"hung-upstream": [attempt(lambda protected: result, protected=True)]}
    assert not outcomes["hung-upstream"][0].as_described
    assert "NOT AS IT MUST BE: the sky is green" in re.sub(
        r"[│\s]+", " ", table.render(outcomes, width=200)
    )
    assert "<li class=no><b>✗</b>the sky is green" in page.render(outcomes, 1.0)


def test_the_page_loads_nothing_from_elsewhere_and_escapes_what_it_shows(result):
    text = page.render({"hung-upstream": [Outcome("with", result, result.seen)]}, 60.0)
    assert not re.findall(r"https?://|src=|@import|url\(", text)
    assert "and &lt;recovers&gt;" in text
    assert "<recovers>" not in text


def test_the_picture_is_a_whole_svg_that_loads_nothing(result, tmp_path):
    without = Result("hung-upstream", protected=False, seen="", series=result.series)
    outcomes = [Outcome("without", without, ""), Outcome("with", result, "")]
    picture.write(tmp_path / "new" / "hung.svg", outcomes)
    text = (tmp_path / "new" / "hung.svg").read_text()
    texts = [each.text for each in ET.fromstring(text).iter() if each.tag.endswith("text")]
    assert {"Without the library", "With the library", "504", "and <recovers>"} <= set(texts)
    assert not re.findall(r"src=|@import|url\(|href", text)
    assert all(f".{each} {{" in text for each in re.findall(r'<rect class="(\w+)"', text))


def test_there_is_no_picture_of_a_run_that_was_skipped(result, tmp_path):
    outcomes = [Outcome("without", None, "skipped"), Outcome("with", result, "")]
    picture.write(tmp_path / "hung.svg", outcomes)
    assert list(tmp_path.iterdir()) == []


def test_both_plots_of_an_incident_have_the_same_scale(result):
    longer = Series(seconds=9.0, queue=[(1.0, 130)])
    scale = plot.Scale.of([result.series, longer])
    assert (scale.seconds, scale.queue, scale.answers) == (9.0, 130, 4.0)


def test_a_capacity_is_a_line_that_fits_on_the_scale(result):
    result.series.capacity = 40.0
    scale = plot.Scale.of([result.series])
    assert scale.answers == 40.0
    assert '<line class="level"' in plot.svg(result.series, scale, "")
    result.series.capacity = None
    assert '<line class="level"' not in plot.svg(result.series, scale, "")


@pytest.mark.parametrize("width", [60, 100, 240])
def test_all_lines_of_the_table_are_equally_long(result, width):
    lines = table.render(
        {"hung-upstream": [Outcome("without", None, "x " * 200)]}, width
    ).splitlines()
    assert len({len(line) for line in lines}) == 1
