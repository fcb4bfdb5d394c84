"""The report of a reproduction: the paper's figure and ours in every cell, and verdicts that need no colour."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.report.palette import DEEPEST_DARK, DEEPEST_LIGHT, INK, OVER, SURFACE, UNDER, Colour
from sglr.report.paper_table import show_table
from sglr.report.reproduction import write_reproduction_report
from sglr.report.reproduction_markdown import reproduction_markdown
from sglr.report.series_chart import read_series

from .conftest import Page
from .made_up import accuracies, artefact, cell, chart, claim, computation, pictures, wide
from .test_comparison import contrast

pytestmark = pytest.mark.charts

COMMAND = "sglr reproduce table1 --scale small --seeds 0,1"


def written(folder: Path, *records: dict[str, Any]) -> Page:
    path = write_reproduction_report(folder, records, COMMAND)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.count("script") == 0
    assert all(address.startswith(("#", "data:", "cells/")) for address in page.addresses())
    return page


def table(unit: str, *cells: dict[str, Any]) -> dict[str, Any]:
    columns = [f"c{number}" for number in range(len(cells))]
    return {"caption": "A", "unit": unit, "row_title": "r", "rows": ["1"], "columns": columns, "cells": [list(cells)]}


def test_every_cell_shows_ours_the_papers_and_the_difference(tmp_path: Path) -> None:
    page = written(tmp_path, artefact(tables=[table("%", cell(82.45, 81.2, 0.4), cell(84.0, None), cell(None, 70.0))]))
    assert "81.2 ± 0.4 82.45 −1.25" in spaced(page)
    assert "– 84.00" in spaced(page)
    assert "70.0 –" in spaced(page)


def spaced(page: Page) -> str:
    """Return the page's text with a space for every tag: a cell's lines are apart by style alone."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.source).split())


def test_the_markdown_of_a_cell() -> None:
    text = reproduction_markdown(
        [artefact(tables=[table("%", cell(82.45, 81.2, 0.4), cell(58.41, None, None, "diverged"))])], COMMAND
    )
    assert "| 1 | 81.2 ± 0.4 (82.45, −1.25) | – (58.41) [1] |" in text
    assert "1. diverged" in text
    assert COMMAND in text
    assert "| accuracy grows with the number of clients | ✓ holds |" in text


@given(st.floats(0, 100), st.floats(0, 100))
def test_a_shade_has_the_sign_of_the_difference_and_ends_at_five_points(paper: float, ours: float) -> None:
    shade = show_table(table("%", cell(paper, ours))).cells[0][0].shade
    assert shade * (ours - paper) >= 0
    assert abs(shade) == pytest.approx(min(abs(ours - paper) / 5, 1), abs=0.02)


def test_shades_of_other_units_are_relative() -> None:
    shown = show_table(computation()).cells[0]
    assert [one.shade for one in shown] == pytest.approx([0, 0.012 / 0.588 / 0.25, 1], abs=1e-3)
    assert [one.ours for one in shown] == ["2.944", "0.6", "0.0405"]
    assert show_table(table("bytes", cell(1e9, 1.2e9))).cells[0][0].difference == "+200 MB"


def test_columns_of_pairs_share_a_heading() -> None:
    shown = show_table(wide())
    assert shown.groups == (("α = 0", 4), ("α = 0.5", 4), ("α = 1", 4))
    assert shown.heads[:5] == ("φ = off", "φ = 0.25", "φ = 0.5", "φ = 0.75", "φ = off")
    assert show_table(accuracies()).groups == ()
    columns = ["per client, as printed", "total, as printed", "per client, broadcast", "total, broadcast"]
    shown = show_table({**table("MB", *[cell(None, 1.0)] * 4), "columns": columns})
    assert shown.groups == (("as printed", 2), ("broadcast", 2))
    assert shown.heads == ("per client", "total", "per client", "total")


def test_a_table_that_the_paper_lacks_has_ours_alone(tmp_path: Path) -> None:
    ours = artefact(tables=[table("MB", cell(None, 40_000.0, 2.0))])
    page = written(tmp_path, ours)
    assert "40,000 ± 2" in spaced(page)
    assert 'class="paper"' not in page.source
    assert "difference" not in page.text
    assert "| 1 | 40,000 ± 2 |" in reproduction_markdown([ours], "")
    assert "paper" not in reproduction_markdown([artefact(tables=ours["tables"], notes=[])], "").lower()


def test_verdicts_are_words_and_counted(tmp_path: Path) -> None:
    page = written(tmp_path, artefact("table1"), artefact("table2", claims=[claim("holds")]))
    for words in ("✓ holds 2 of 4 claims", "✗ fails 1 of 4 claims", "? undecided 1 of 4 claims"):
        assert words in page.text, words
    assert {"#table1", "#table2"} <= set(page.addresses())


def test_a_note_is_told_once_and_marked_in_its_cells(tmp_path: Path) -> None:
    noted = [cell(80, None, None, "diverged at step 30"), cell(80, 79.0), cell(80, None, None, "diverged at step 30")]
    page = written(tmp_path, artefact(tables=[table("%", *noted)]))
    assert page.text.count("diverged at step 30") == 1
    assert page.source.count("<sup>1</sup>") == 2


def test_pictures_are_inside_the_page(tmp_path: Path) -> None:
    page = written(tmp_path, artefact(pictures=[pictures()], charts=[chart("a"), chart("b", log=True)]))
    images = [address for address in page.addresses() if address.startswith("data:image/png")]
    assert len(images) == 24
    assert all(base64.b64decode(address.partition(",")[2]).startswith(b"\x89PNG") for address in images)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_what_is_no_number_is_left_out_of_a_chart() -> None:
    series = {"label": "a", "x": [0, 1, 2, 3], "y": [1.0, None, float("nan"), 4.0], "spread": [0.1, None, None, 0.2]}
    axes = {"x_title": "", "y_title": "", "series": [series]}
    assert read_series({**axes, "log_x": False})[0].epochs == (0, 3)
    assert read_series({**axes, "log_x": True})[0].epochs == (3,)


def test_names_are_text_never_markup(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script> | $\\frac"
    page = written(tmp_path, artefact(title=evil, setting=evil, notes=[evil], claims=[claim("holds", evil)]))
    assert "<script" not in page.source
    assert evil in page.text
    assert evil.replace("|", "\\|") in reproduction_markdown([artefact(claims=[claim("fails", evil)])], "")


def test_a_record_without_anything_is_still_a_page(tmp_path: Path) -> None:
    empty = artefact(tables=[], charts=[], claims=[], notes=[], runs=[], seeds=[], versions={})
    assert "0 of 0 claims" in written(tmp_path, empty).text
    assert reproduction_markdown([empty], "").startswith("# Table1: SplitLr alone")


@given(st.floats(0, 1), st.sampled_from(["light", "dark"]), st.sampled_from([OVER, UNDER]))
def test_text_on_every_shade_is_legible(shade: float, theme: str, hue: Colour) -> None:
    opacity = shade * (DEEPEST_LIGHT if theme == "light" else DEEPEST_DARK)
    shaded = blend(getattr(hue, theme), getattr(SURFACE, theme), opacity)
    assert contrast(getattr(INK, theme), shaded) >= 4.5


def blend(above: str, below: str, opacity: float) -> str:
    pairs = [(int(above[i : i + 2], 16), int(below[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(opacity * one + (1 - opacity) * other):02x}" for one, other in pairs)
