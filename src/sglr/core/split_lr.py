"""SplitLr: the server's learning rate grows with its effective batch (paper, eq. 11-13)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sglr.core.cuts.cut_rows import StageRates
from sglr.core.errors import UsageError
from sglr.core.types import StepContext, Uplink

MOST_ALPHA = 50.0
"""The largest exponent: a million clients make the server's rate 10³⁰⁰ times theirs, near the largest number."""


def split_lr(batch_sizes: Sequence[int], alpha: float, *, unequal: bool = False) -> float:
    """Return the factor η_s / η_c for one step.

    Eq. 12 is η_s = η_0 |B_s|^α with the effective batch |B_s| = Σ|B_i| (eq. 11) of the clients that are
    present. η_0 is fixed by asking that a client's own batch b has the client's rate, η_c = η_0 b^α, with b
    the largest batch of the step. Hence η_s = η_c (|B_s| / b)^α, which for equal batches is η_c |C|^α (eq. 13).

    Where batches are unequal by intent (``--batching``), clients' batches differ and their rate does not: b is then
    the mean batch of the step, so that the factor is |C|^α as in the paper, with C the clients that have a sample. The
    largest would make it depend on one client: on who drew most, or owns most.

    Parameters
    ----------
    batch_sizes
        |B_i| of the clients present, all positive.
    alpha
        α ≥ 0; 0 is off. Clients that are slower by γ have −γ in its place.
    unequal
        True if batches are unequal by intent: `StepContext.unequal_batches`.
    """
    if unequal:
        return float(len(batch_sizes) ** alpha)
    effective_batch = sum(batch_sizes)
    return float((effective_batch / max(batch_sizes)) ** alpha)


def scaled_rate(uplink: Uplink, context: StepContext, alpha: float) -> float | StageRates:
    """Return the server's rate in a step, scaled by its effective batch.

    Where clients are cut at several places, each stage of the server's segment has its own: its effective batch is that
    of the clients whose samples pass it, C_k, so that its rate is η |C_k|^α. The last stage is passed by all.
    """
    sizes, unequal = uplink.sizes, context.unequal_batches
    if uplink.cuts is None:
        return context.server_rate * split_lr(sizes, alpha, unequal=unequal)
    rates = []
    for stage in range(len(uplink.cuts.shapes)):
        passing = [size for size, place in zip(sizes, uplink.cuts.places, strict=True) if place <= stage]
        rates.append(context.server_rate * split_lr(passing, alpha, unequal=unequal) if passing else 0.0)
    return StageRates(tuple(rates))


def check_alpha(alpha: float, name: str = "alpha", most: float = MOST_ALPHA) -> None:
    """Refuse an exponent that is negative, not a number or above ``most``."""
    if not (math.isfinite(alpha) and alpha >= 0):
        raise UsageError(name, alpha, "is not a number ≥ 0", "give 0 (off), 0.5, 1, 1.5 or 2")
    if alpha > most:
        raise UsageError(name, alpha, f"is above {most:g}", "give 0 (off), 0.5, 1, 1.5 or 2")
