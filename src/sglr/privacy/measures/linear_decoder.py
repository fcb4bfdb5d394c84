"""How much of the inputs the best linear decoder recovers from smashed data: cheap enough for every epoch.

Ridge regression of inputs on smashed data, solved over samples instead of values (kernel form), so that it costs n³ for
n samples however many values either has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sglr.privacy.measures.samples import paired_rows

LEAST = 8
RIDGE = 1e-3
"""Part of the kernel's mean diagonal that is added to it."""


def explained_share(smashed: Tensor, inputs: Tensor, attacked: Tensor, wanted: Tensor) -> float:
    """Return which share of the variance of inputs a linear decoder explains that was fitted to others.

    1 − Σ ‖x − x̂‖² / Σ ‖x − x̄‖² over attacked samples, x̄ the mean of the fitted ones; 0 where guessing the mean does as
    well, or better.

    Parameters
    ----------
    smashed, inputs
        ``[n, ...]`` each, that the decoder is fitted to.
    attacked, wanted
        ``[m, ...]`` each, smashed data and the inputs that they are of.

    Raises
    ------
    UsageError
        If there are fewer than 8 of either, numbers differ, or values are constant or not finite.
    """
    x, y = (rows.double() for rows in paired_rows(inputs, smashed, ("inputs", "smashed"), least=LEAST))
    truth, seen = (rows.double() for rows in paired_rows(wanted, attacked, ("wanted", "attacked"), least=LEAST))
    centre, mean = y.mean(0), x.mean(0)
    y, seen = y - centre, seen - centre
    kernel = y @ y.T
    ridge = RIDGE * kernel.diagonal().mean() * torch.eye(len(kernel), dtype=kernel.dtype)
    found = mean + seen @ (y.T @ torch.linalg.solve(kernel + ridge, x - mean))
    left, whole = (truth - found).square().sum(), (truth - mean).square().sum()
    return max(0.0, float(1 - left / whole))
