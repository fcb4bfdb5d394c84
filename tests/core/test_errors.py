"""Errors name the field, the value and the remedy, in one line."""

from __future__ import annotations

import copy

import pytest

from sglr.core.errors import DivergedError, Interrupted, SglrError, UsageError, unknown


def test_a_usage_error_names_field_value_problem_and_remedy() -> None:
    error = UsageError("phi", 2.0, "is outside [0, 1]", "give a fraction")
    assert str(error) == "phi = 2.0: is outside [0, 1]; give a fraction"
    assert (error.field, error.value, error.problem, error.remedy) == (
        "phi",
        2.0,
        "is outside [0, 1]",
        "give a fraction",
    )


def test_errors_come_back_whole_from_another_process() -> None:
    for error in (UsageError("phi", 2.0, "is outside [0, 1]", "give a fraction"), DivergedError("at step 3")):
        back = copy.copy(error)  # by what pickle goes by
        assert (type(back), str(back)) == (type(error), str(error))


@pytest.mark.parametrize("kind", [UsageError, DivergedError, Interrupted])
def test_everything_that_sglr_explains_can_be_caught_as_one(kind: type[Exception]) -> None:
    assert issubclass(kind, SglrError)


@pytest.mark.parametrize(
    ("value", "hint"),
    [("sgrl", "did you mean 'sglr'? "), ("SGLR", "did you mean 'sglr'? "), ("zzz", "")],
)
def test_an_unknown_name_gets_the_nearest_known_one(value: str, hint: str) -> None:
    error = unknown("method", value, ["sglr", "psl", "fl"])
    assert str(error) == f"method = {value}: no such method; {hint}known: fl, psl, sglr"
