"""Mutual information of binned samples, the paper's eq. 18 with relative frequencies for probabilities.

I(X; Y) = Σ p(x, y) log [p(x, y) / (p(x) p(y))] over symbols. Images and smashed data become symbols in
:func:`symbols`: each of the first two principal components is cut into four bins of equally many samples, which gives
sixteen symbols. Binning loses information, so the figure is that of the symbols, at most log 16 = 2.77 nats, however
much more the smashed data tell.

Frequencies vary more than probabilities, which makes the plug-in too large, by some (K_xy − K_x − K_y + 1) / 2n nats
for K symbols that occur; ``miller_madow`` takes that away. The interval is that of the delta method around the
corrected figure: the variance of log [p(x, y) / (p(x) p(y))] over n, plus what is left of it where X and Y are
independent, when n I is half a χ² variable of (K_x − 1)(K_y − 1) degrees of freedom. It always includes the figure.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sglr.core.errors import UsageError
from sglr.privacy.measures.estimate import NORMAL, Estimate
from sglr.privacy.measures.projection import fit_projection
from sglr.privacy.measures.samples import as_rows, paired_rows, require_as_many

SAMPLES = 4096
BINS = 4
COMPONENTS = 2
PER_CELL = 4
"""Samples per pair of symbols that :func:`binned_information` needs: with fewer the bias is as large as the figure."""


def binned_information(
    inputs: Tensor,
    smashed: Tensor,
    *,
    seed: int,
    bins: int = BINS,
    components: int = COMPONENTS,
    miller_madow: bool = True,
) -> Estimate:
    """Estimate I(X; Y) of inputs and smashed data as symbols, in nats.

    Parameters
    ----------
    inputs, smashed
        ``[n, ...]`` each; row k of one belongs to row k of the other.
    seed
        Seed of the randomised principal components.
    bins
        Bins per component.
    components
        How many principal components make a symbol.
    miller_madow
        Take away the expected bias.

    Raises
    ------
    UsageError
        If there are fewer than 4 samples per pair of symbols, numbers differ, or values are constant or not finite.
    """
    if bins < 2 or components < 1:
        raise UsageError(
            "bins", f"{bins} of {components} components", "makes all samples one symbol", "give 2 bins or more"
        )
    counts = [bins ** min(components, each[:1].numel()) for each in (inputs, smashed)]
    x, y = paired_rows(inputs, smashed, ("inputs", "smashed"), least=PER_CELL * math.prod(counts))
    first, second = symbols(x, bins, components, seed), symbols(y, bins, components, seed)
    estimate = symbol_information(first, second, miller_madow=miller_madow)
    how = f"{estimate.estimator}, {bins} equally frequent bins of each of {components} principal components"
    return Estimate(estimate.value, estimate.low, estimate.high, how, estimate.unit, estimate.samples)


def symbols(rows: Tensor, bins: int, components: int, seed: int) -> Tensor:
    """Return each row's symbol ``[n]``: in which bin its first principal components lie.

    Bins of a component hold equally many samples. Equal values share a bin.
    """
    projected = fit_projection(rows.cpu(), components, seed)(rows.cpu())
    edges = torch.quantile(projected, torch.arange(1, bins, dtype=projected.dtype) / bins, dim=0)
    digits = (projected[:, None] >= edges).sum(1)
    places = bins ** torch.arange(projected.shape[1])
    return (digits * places).sum(1)


def symbol_information(first: Tensor, second: Tensor, *, miller_madow: bool) -> Estimate:
    """Estimate I(X; Y) of symbols ``[n]`` by their relative frequencies, in nats.

    Raises
    ------
    UsageError
        If there are fewer than two samples, numbers differ, or a symbol never changes.
    """
    as_rows("first", first, least=2)
    as_rows("second", second, least=2)
    require_as_many("first", first, "second", second)
    count = len(first)
    _, x = torch.unique(first, return_inverse=True)
    _, y = torch.unique(second, return_inverse=True)
    joint = torch.zeros(int(x.max()) + 1, int(y.max()) + 1, dtype=torch.float64)
    joint.index_put_((x, y), torch.ones(count, dtype=torch.float64), accumulate=True)
    joint /= count
    gain = (joint / (joint.sum(1, keepdim=True) * joint.sum(0))).log()[x, y]
    plain, (kx, ky) = float(gain.mean()), joint.shape
    corrected = plain - (int((joint > 0).sum()) - kx - ky + 1) / (2 * count)
    variance = float(gain.var()) / count + (kx - 1) * (ky - 1) / (2 * count**2)
    value, half = corrected if miller_madow else plain, NORMAL * math.sqrt(variance)
    name = "plug-in with Miller-Madow correction" if miller_madow else "plug-in"
    low, high = min(value, corrected - half), max(value, corrected + half)
    return Estimate(value, low, high, f"{name}, interval by the delta method", "nats", count)
