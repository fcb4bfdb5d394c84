"""Figures as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglr.report import numbers


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_345_678, "12.3 MB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (9_996_000, "10.0 MB"),
        (3e12, "3.00 TB"),
    ],
)
def test_sizes_are_decimal_with_three_digits(number: float, written: str) -> None:
    assert numbers.size(number) == written


@given(st.integers(0, 10**17))
def test_a_written_size_is_within_half_a_percent(number: int) -> None:
    figure, unit = numbers.size(number).split(" ")
    power = ("B", "kB", "MB", "GB", "TB", "PB").index(unit)
    assert float(figure) * 1000**power == pytest.approx(number, rel=0.0051)
    assert float(figure) < 1000


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.04, "0.0 s"),
        (6.88, "6.9 s"),
        (59.96, "1 min 00 s"),
        (72, "1 min 12 s"),
        (3599.6, "1 h 00 min"),
        (86_399, "24 h 00 min"),
    ],
)
def test_durations_have_two_units(seconds: float, written: str) -> None:
    assert numbers.duration(seconds) == written


def test_shares_are_percent_and_spreads_are_points() -> None:
    assert numbers.percent(0.8644) == "86.4 %"
    assert numbers.points(0.0123) == "± 1.2"
    assert numbers.count(1771.6) == "1,772"
    assert numbers.count(12.34) == "12.3"
    assert numbers.decimal(0.45678) == "0.457"


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf])
def test_what_is_unknown_is_a_dash(unknown: float | None) -> None:
    writers = (numbers.percent, numbers.size, numbers.duration, numbers.count, numbers.decimal)
    assert {write(unknown) for write in writers} == {"–"}
    assert numbers.points(unknown) == ""


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (2.944, "2.944"),
        (0.031, "0.031"),
        (0.0, "0"),
        (1234.5, "1,234"),
        (9999.7, "10,000"),
        (-1234567, "−1,234,567"),
        (1.234e12, "1.234 × 10¹²"),
        (-2.5e-7, "−2.500 × 10⁻⁷"),
    ],
)
def test_any_quantity_has_four_digits(number: float, written: str) -> None:
    assert numbers.plain(number) == written


@given(st.floats(-1e20, 1e20, allow_nan=False))
def test_a_written_quantity_is_close(number: float) -> None:
    text = numbers.plain(number).replace("−", "-").replace(",", "").replace(" × 10", "e")
    assert float(text.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))) == pytest.approx(number, rel=6e-4)


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "0"), (9999, "9,999"), (25_000, "25k"), (-2e6, "−2M"), (0.5, "0.5"), (1_500_000, "1.5M")],
)
def test_numbers_on_an_axis_are_short(number: float, written: str) -> None:
    assert numbers.short(number) == written


def test_differences_have_a_sign_unless_they_are_written_as_zero() -> None:
    assert numbers.signed(-1.25, numbers.decimal) == "−1.250"
    assert numbers.signed(3e6, numbers.size) == "+3.00 MB"
    assert numbers.signed(-0.0001, numbers.decimal) == "0.000"
    assert numbers.signed(None, numbers.decimal) == ""


def test_operations_and_joules_have_prefixes() -> None:
    assert numbers.operations(2.944e15) == "2.94 PFLOP"
    assert numbers.operations(0) == "0 FLOP"
    assert numbers.joules(999.6) == "1.00 kJ"
    assert numbers.joules(0.01234) == "12.3 mJ"
    assert numbers.joules(0.00022) == "220 µJ"
    assert numbers.joules(0.99996) == "1.00 J"
    assert numbers.joules(3e-9) == "3.00 nJ"
    assert numbers.joules(0) == "0 J"
    assert numbers.exact_size(2_651_234) == "2.6512 MB"
    assert numbers.joules(None) == "–"
