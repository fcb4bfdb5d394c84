"""Make series equal in length and standardise their channels; missing values are named, left out or imputed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError, listed
from sglr.data.class_folders import SHOWN
from sglr.data.series.read import SeriesSet, Steps
from sglr.data.series.schema import Channel, SeriesSchema


def complete_rows(found: SeriesSet, missing: str) -> NDArray[np.bool_]:
    """Return which series are kept ``[N]``: all, or with ``"drop"`` those without missing values.

    Raises
    ------
    UsageError
        If values are missing and ``missing`` is ``"error"``, or no series is complete.
    """
    complete = np.array([not np.isnan(values).any() for values in found.values])
    if missing == "error" and not complete.all():
        raise _gap(found, int(complete.argmin()), int((~complete).sum()))
    if missing == "drop" and not complete.any():
        raise UsageError("missing", "drop", "every series has a missing value", "give --missing mean")
    return complete | (missing != "drop")


def _gap(found: SeriesSet, row: int, count: int) -> UsageError:
    step, channel = np.argwhere(np.isnan(found.values[row]))[0]
    others = f" (as in {count - 1} other series)" if count > 1 else ""
    problem = f"the channel {found.channels[channel]} has no value at step {step + 1}{others}"
    return UsageError("series", found.names[row], problem, "fill it in, or give --missing drop or mean")


def common_length(found: SeriesSet, given: int | None) -> int:
    """Return the length of inputs: the given one, or that of all series.

    Raises
    ------
    UsageError
        If none is given and series differ.
    """
    if given is not None:
        return given
    lengths = {len(values): name for values, name in zip(found.values, found.names, strict=True)}
    if len(lengths) > 1:
        least, most = min(lengths), max(lengths)
        problem = f"series have from {least} ({lengths[least]}) to {most} steps ({lengths[most]})"
        raise UsageError("length", "none", problem, f"give --length, such as {most}: others are cut or padded")
    return next(iter(lengths))


def measured(values: Sequence[Steps], names: Sequence[str], length: int) -> tuple[Channel, ...]:
    """Return the channels with mean and std of the training series, as far as they are used.

    Raises
    ------
    UsageError
        If a channel has no value.
    """
    steps = np.concatenate([each[:length] for each in values])
    for name, channel in zip(names, steps.T, strict=True):
        if np.isnan(channel).all():
            raise UsageError("value_columns", name, "no training series has a value in this channel", "leave it out")
    spread = np.nanstd(steps, axis=0)
    return tuple(
        Channel(name=name, mean=float(mean), std=float(std) if std > 0 else 1.0)
        for name, mean, std in zip(names, np.nanmean(steps, axis=0), spread, strict=True)
    )


def fitted(values: Sequence[Steps], schema: SeriesSchema) -> NDArray[np.float32]:
    """Return inputs ``[N, channels, length]``: standardised, cut at the end or padded there with 0, the mean."""
    mean, std = (np.array([getattr(channel, name) for channel in schema.channels]) for name in ("mean", "std"))
    inputs = np.zeros((len(values), *schema.input_shape), dtype=np.float32)
    for row, steps in enumerate(values):
        own = np.nan_to_num((steps[: schema.length] - mean) / std, nan=0.0, posinf=np.inf, neginf=-np.inf)
        inputs[row, :, : len(own)] = own.T
    return inputs


def fit_notes(found: SeriesSet, kept: NDArray[np.bool_], schema: SeriesSchema) -> list[str]:
    """Return what was done to series, a sentence each."""
    lengths = np.array([len(values) for values in found.values])
    gone = [name for name, stays in zip(found.names, kept, strict=True) if not stays]
    told = {
        f"were longer than {schema.length} steps, and only their beginning is used": (lengths > schema.length).sum(),
        f"were shorter than {schema.length} steps, and are padded with the mean": (lengths < schema.length).sum(),
        f"are left out, because a value is missing: {listed(gone, SHOWN)}": len(gone),
    }
    return [f"{count} of {len(lengths)} series {what}" for what, count in told.items() if count]
