"""Checks of a measure's inputs, before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor

from sglr.core.errors import UsageError


def as_rows(name: str, values: Tensor, *, least: int) -> Tensor:
    """Return samples ``[n, ...]`` as rows ``[n, d]`` of floating-point numbers, without their graph.

    Parameters
    ----------
    name
        What they are called in errors.
    values
        The samples.
    least
        How many samples the estimator needs.

    Raises
    ------
    UsageError
        If they are too few, not finite, or all the same.
    """
    count = len(values) if values.dim() else 0
    if count < least:
        raise UsageError(name, f"{count} samples", f"this estimator needs {least} samples", "give more samples")
    rows = values.detach().reshape(count, -1)
    rows = rows if rows.is_floating_point() else rows.to(torch.get_default_dtype())
    if not bool(torch.isfinite(rows).all()):
        problem = "some values are not finite numbers"
        raise UsageError(name, tuple(values.shape), problem, "check whether the training diverged")
    if bool((rows == rows[0]).all()):
        raise UsageError(name, tuple(values.shape), "all samples are the same", "give samples that differ")
    return rows


def paired_rows(first: Tensor, second: Tensor, names: tuple[str, str], *, least: int) -> tuple[Tensor, Tensor]:
    """Return two sets of samples as rows; sample k of one belongs to sample k of the other.

    Raises
    ------
    UsageError
        If either is unfit (see :func:`as_rows`), or their numbers differ.
    """
    rows = as_rows(names[0], first, least=least), as_rows(names[1], second, least=least)
    require_as_many(names[0], rows[0], names[1], rows[1])
    return rows


def require_as_many(name: str, values: Tensor, other_name: str, others: Tensor) -> None:
    """Refuse two sets of samples of unequal number.

    Raises
    ------
    UsageError
        If they are not as many.
    """
    if len(values) != len(others):
        problem = f"{other_name} has {len(others)} samples"
        raise UsageError(name, f"{len(values)} samples", problem, "give as many of both, in the same order")
