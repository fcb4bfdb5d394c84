"""Table 6 beside a run: evaluated with the run's sizes, and no figure where the paper has no row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sglr
from sglr.core.registry import METHODS
from sglr.cost import closed_forms
from sglr.cost.closed_forms import Sizes, paper
from sglr.cost.paper_view import FORMULAS, paper_view

# The networks of tests/conftest.py, in bytes.
CUT, CLIENT, WHOLE = 3 * 4, 15 * 4, (15 + 24) * 4


def sizes(clients: int, samples: int) -> Sizes:
    return Sizes(clients=clients, samples=samples, cut=CUT, model=WHOLE, client=CLIENT)


@pytest.mark.parametrize("name", ["fl", "psl", "slr", "sfl", "sgl", "sglr"])
def test_it_is_table_6_once_an_epoch(case, name: str) -> None:
    trainer = case(METHODS.load(name)(), sizes=(6, 4, 5), epochs=3).build()
    form = paper(name, sizes(3, 15), getattr(trainer.method, "phi", 0.0))
    found = paper_view(name, trainer, 0 if name == "fl" else CUT)
    assert found["total_bytes"] == 3 * form.total
    assert found["per_epoch_bytes"] == form.total
    assert found["per_client_bytes"] == {"mean": 3 * form.per_client, "max": 3 * form.per_client}
    assert found["reason"] is None


@pytest.mark.parametrize("view", ["paper", "broadcast", "point_to_point"])
def test_the_worked_example_is_told_as_it_is(view: str) -> None:
    text = (Path(__file__).parents[2] / "docs/costs.md").read_text(encoding="utf-8")
    example = text[text.index("| MB per epoch") :]
    row = next(line for line in example.splitlines() if line.startswith(f"| `{view}` "))
    sglr_, sfl, fl, less_than_sfl, less_than_fl = map(float, re.findall(r"\d+\.\d", row))
    given = Sizes(clients=100, samples=50_000, cut=0.024, model=200, client=67)
    form = getattr(closed_forms, view)
    wanted = [form(name, given, phi).total for name, phi in (("sglr", 0.5), ("sfl", 0.0), ("fl", 0.0))]
    assert [sglr_, sfl, fl] == [round(total, 1) for total in wanted]
    assert less_than_sfl == round(100 * (1 - wanted[0] / wanted[1]), 1)
    assert less_than_fl == round(100 * (1 - wanted[0] / wanted[2]), 1)


def test_formulas_are_those_of_the_paper() -> None:
    assert {name: FORMULAS[name] for name in ("fl", "sglr")} == {"fl": "2|C|S(w)", "sglr": "(2−φ)|D|S(L) + S(L)"}


def test_epochs_without_averages_are_psl(case) -> None:
    method = sglr.SGLR(phi=0.75, phase="first:0.4")
    trainer = case(method, sizes=(6, 6), epochs=5).build()
    wanted = 2 * paper("sglr", sizes(2, 12), 0.75).total + 3 * paper("psl", sizes(2, 12)).total
    assert paper_view("sglr", trainer, CUT)["total_bytes"] == wanted
    off = case(sglr.SGLR(phi=0.0), sizes=(6, 6), epochs=5).build()
    assert paper_view("sglr", off, CUT)["total_bytes"] == 5 * paper("psl", sizes(2, 12)).total


@pytest.mark.parametrize("method", [sglr.SFL(), sglr.SGL(phi=0.5)])
def test_only_those_who_take_part_count(case, method) -> None:
    own = (2, 3, 4, 5)
    trainer = case(method, sizes=own, epochs=6, participation=0.5).build()
    name = type(method).__name__.lower()
    present = [trainer.participants(epoch) for epoch in range(6)]
    assert len(set(present)) > 1, "the test saw no change"
    forms = [paper(name, sizes(2, sum(own[one] for one in two)), getattr(method, "phi", 0.0)) for two in present]
    found = paper_view(name, trainer, CUT)
    assert found["total_bytes"] == sum(form.total for form in forms)
    assert found["per_client_bytes"]["mean"] == found["total_bytes"] / 4


def test_buffers_are_part_of_the_segment(case) -> None:
    """No bias (12 weights) but BatchNorm: 3 scales, 3 shifts, 6 statistics and a count."""
    trainer = case(sglr.SFL(), sizes=(6, 6), epochs=1, norm=True).build()
    segment = (12 + 3 + 3 + 6) * 4 + 8
    assert paper_view("sfl", trainer, CUT)["total_bytes"] == 2 * 12 * CUT + 2 * 2 * segment


@pytest.mark.parametrize(
    ("name", "method", "reason"),
    [
        ("cl", sglr.CL(), "nothing is sent while training"),
        ("ssl", sglr.SSL(), "Table 6 has no row for ssl; it moves the same data as sfl"),
        ("sflv1", sglr.SFLV1(), "Table 6 has no row for sflv1; it moves the same data as sfl"),
        ("sflv2", sglr.SFLV2(), "Table 6 has no row for sflv2; it moves the same data as sfl"),
        ("<Own>", sglr.PSL(), "Table 6 has no row for <Own>"),
        ("fl", sglr.FL(local_epochs=2), "Table 6 is for weights that are averaged once an epoch"),
        ("sfl", sglr.SFL(average_every=3), "Table 6 is for weights that are averaged once an epoch"),
        ("psl", sglr.PSL().merging("epoch"), "Table 6 has no row for psl whose weights are merged otherwise"),
        ("sfl", sglr.SFL().merging("never"), "Table 6 has no row for sfl whose weights are merged otherwise"),
    ],
)
def test_without_a_row_it_says_why(case, name: str, method, reason: str) -> None:
    found = paper_view(name, case(method).build(), CUT)
    assert found.pop("reason") == reason
    assert found.keys() == {"total_bytes", "per_client_bytes", "per_epoch_bytes", "formula"}
    assert set(found.values()) == {None}
