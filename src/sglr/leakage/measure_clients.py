"""All measures of what a client's smashed data and cut gradients reveal, and their means over clients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sglr.core.data import Samples
from sglr.core.errors import UsageError, unknown
from sglr.core.random import key
from sglr.core.task import Serves
from sglr.privacy.measures.distance_correlation import SAMPLES as PAIRED
from sglr.privacy.measures.distance_correlation import measure as measure_distance
from sglr.privacy.measures.estimate import Estimate, mean_estimate
from sglr.privacy.measures.label_leakage import by_direction
from sglr.privacy.measures.mutual_information import SAMPLES as INFORMED
from sglr.privacy.measures.mutual_information import info_nce
from sglr.privacy.measures.pictures import SMALLEST
from sglr.privacy.measures.reconstruction import BATCH, Reconstruction, reconstruct
from sglr.privacy.target import NO_DISTANCES, Target, has_quantities, told
from sglr.splitting.input_layout import InputLayout

LABELS = "label_inference_accuracy"
IMAGES = "reconstruction"
NO_GRADIENTS = "no gradients are sent that labels could be inferred from; the labels are uploaded"
MEASURES = ("mutual_information", "distance_correlation", IMAGES, LABELS)
"""The measures, as they are called in ``leakage.json`` and on the command line."""
PACKAGES = ("sklearn", "scipy")
"""What measuring needs of the extra ``privacy``."""

KNOWN, ATTACKED, SHOWN = 2000, 512, 10
"""Images that a decoder learns from, that it reconstructs, and that are shown, at most."""
EPOCHS, STEPS = 10, 600
"""Passes of a decoder over its images; few images are passed more often, until there were so many steps."""

MAPS = 8
"""Channels of an activation map that are shown: those that vary most over the image."""

Figures = dict[str, Estimate]
"""Estimates by name; a dot parts a group from its member, as in ``reconstruction.mse``."""


@dataclass(frozen=True)
class Wanted:
    """What is to be measured.

    Parameters
    ----------
    measures
        Names, some of `MEASURES`.
    samples
        How many samples of a client, at most; None takes as many as each measure works well with, or all there are.
    strict
        True raises the error of a measure that fails; False records it and goes on with the others.
    """

    measures: tuple[str, ...] = MEASURES
    samples: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        for name in self.measures:
            if name not in MEASURES:
                raise unknown("measures", name, (*MEASURES, "all", "none"))
        if self.samples is not None and self.samples < 1:
            raise UsageError("samples", self.samples, "leaves nothing to measure", "give 256 or more")

    def at_most(self, usual: int) -> int:
        """Return how many samples a measure takes that works well with ``usual``."""
        return usual if self.samples is None else self.samples


@dataclass
class MeasuredLeakage:
    """What was measured at one client.

    Parameters
    ----------
    figures
        Estimates by name.
    missing
        Why a measure is missing, by its name.
    pictures
        Images ``[n, channels, height, width]`` in [0, 1] by title, the originals first.
    """

    figures: Figures = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Tensor] = field(default_factory=dict)


def measure_client(target: Target, wanted: Wanted) -> MeasuredLeakage:
    """Measure what one client leaks.

    Samples are the client's own, and where these are too few also some that nobody trained with.

    Raises
    ------
    UsageError
        If an estimator has too few samples or can't be used with them, and ``wanted`` is strict.
    """
    found = MeasuredLeakage()
    for name in wanted.measures:
        try:
            serves(name).require("measures", name, target.task, target.own.targets[:1])
            require_quantities(name, target.own, target.layout)
            _MEASURES[name](target, wanted, found)
        except UsageError as problem:
            if wanted.strict:
                raise
            found.missing[name] = str(problem)
    return found


def serves(measure: str) -> Serves:
    """Return which tasks a measure serves: labels are inferred where samples have them."""
    return Serves.CLASSES if measure == LABELS else Serves.ANY


def require_quantities(measure: str, samples: Samples, layout: InputLayout | None) -> None:
    """Refuse a measure of inputs where these are numbers of tokens: their distances mean nothing.

    Parameters
    ----------
    measure
        Its name.
    samples
        The samples.
    layout
        The inputs of a sample, where it has several: one that is no token is enough, or for images one picture.

    Raises
    ------
    UsageError
        If they are, and the measure looks at inputs.
    """
    if measure == LABELS:
        return
    if not has_quantities(samples.inputs, layout):
        raise UsageError("measures", measure, NO_DISTANCES, "leave it out")
    if measure == IMAGES and layout is not None and layout.picture is None:
        problem = f"it recovers pictures, and not one of a sample's inputs is a picture ({told(layout)})"
        raise UsageError("measures", measure, problem, "leave it out")


def over_clients(each: Sequence[Mapping[str, Estimate]]) -> Figures:
    """Return the mean of every figure over clients, with Student's interval over them; of one client, its own."""
    if len(each) == 1:
        return dict(each[0])
    shared = [name for name in each[0] if all(name in one for one in each)]
    return {name: _over_clients([one[name] for one in each]) for name in shared}


def nested(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    """Return estimates for JSON, those of a group within it."""
    found: dict[str, Any] = {}
    for name, estimate in figures.items():
        group, _, member = name.partition(".")
        if member:
            found.setdefault(group, {})[member] = estimate.record()
        else:
            found[group] = estimate.record()
    return found


def measured_samples(target: Target, most: int) -> Samples:
    """Return the client's own samples in random order, and then some that nobody trained with, ``most`` in all."""
    own = _drawn(target.own, most, target.seed, "measured samples")
    rest = most - len(own)
    if rest <= 0 or not len(target.unseen):
        return own
    more = _drawn(target.unseen, rest, target.seed, "further samples")
    return Samples(torch.cat([own.tensor, more.tensor]), torch.cat([own.targets, more.targets]))


def activation_maps(send: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Return the `MAPS` channels ``[m, height, width]`` that vary most of what a client sends of an image ``[1, ...]``.

    Smashed data without height and width come as one row of pixels, ``[1, 1, n]`` (paper, Figure 4).
    """
    with torch.no_grad():
        smashed = send(image)[0]
    if smashed.dim() != 3:
        return smashed.reshape(1, 1, -1)
    liveliest = smashed.flatten(1).std(1).topk(min(MAPS, len(smashed))).indices
    return smashed[liveliest.sort().values]


def _drawn(samples: Samples, most: int, seed: int, purpose: str) -> Samples:
    generator = torch.Generator().manual_seed(key(seed, purpose))
    return samples.select(torch.randperm(len(samples), generator=generator)[:most])


def _over_clients(each: Sequence[Estimate]) -> Estimate:
    values = torch.tensor([one.value for one in each], dtype=torch.float64)
    first = each[0]
    mean = mean_estimate(values, f"{first.estimator}; mean over {len(each)} clients", first.unit)
    low, high = mean.low, mean.high
    if first.unit == "share" and low is not None and high is not None:
        low, high = max(0.0, low), min(1.0, high)
    # Where one client's figure has no upper end, the mean has none.
    high = None if any(one.high is None for one in each) else high
    return Estimate(mean.value, low, high, mean.estimator, first.unit, sum(one.samples for one in each))


def _mutual_information(target: Target, wanted: Wanted, found: MeasuredLeakage) -> None:
    inputs = measured_samples(target, wanted.at_most(INFORMED)).tensor
    found.figures["mutual_information"] = _without_tokens(
        info_nce(target.quantities(inputs), target.observed(inputs), seed=target.seed), target
    )


def _distance_correlation(target: Target, wanted: Wanted, found: MeasuredLeakage) -> None:
    inputs = measured_samples(target, wanted.at_most(PAIRED)).tensor
    found.figures["distance_correlation"] = _without_tokens(
        measure_distance(target.quantities(inputs), target.observed(inputs)), target
    )


def _without_tokens(estimate: Estimate, target: Target) -> Estimate:
    """Return an estimate that tells which inputs it is of, where others are tokens."""
    layout = target.layout
    if layout is None or not layout.has_tokens:
        return estimate
    return replace(estimate, estimator=f"{estimate.estimator}; of the inputs {', '.join(layout.quantities)}")


def _reconstruction(target: Target, wanted: Wanted, found: MeasuredLeakage) -> None:
    originals = measured_samples(target, wanted.at_most(ATTACKED)).tensor
    known = _drawn(target.auxiliary, KNOWN, target.seed, "auxiliary samples").tensor
    epochs = max(EPOCHS, math.ceil(STEPS * BATCH / max(len(known), 1)))
    result = reconstruct(target.observed, known, originals, epochs=epochs, seed=target.seed, images_of=target.pictures)
    figures = {
        "cross_entropy": result.cross_entropy,
        "mse": result.mse,
        "baseline_cross_entropy": result.baseline_cross_entropy,
        "baseline_mse": result.baseline_mse,
    }
    found.figures |= {f"reconstruction.{name}": estimate for name, estimate in figures.items()}
    found.pictures = {"originals": result.originals[:SHOWN], "decoder": result.images[:SHOWN]}
    found.figures |= {f"reconstruction.{name}": estimate for name, estimate in _likeness(result, found).items()}


def _likeness(result: Reconstruction, found: MeasuredLeakage) -> Figures:
    """Return PSNR and SSIM, as far as the package is there and images are large enough."""
    try:
        likeness = {"psnr": result.psnr()}
    except UsageError as problem:
        found.missing["reconstruction.psnr"] = found.missing["reconstruction.ssim"] = str(problem)
        return {}
    if min(result.images.shape[-2:]) < SMALLEST:
        found.missing["reconstruction.ssim"] = f"images are smaller than {SMALLEST} x {SMALLEST}"
        return likeness
    return likeness | {"ssim": result.ssim()}


def _label_inference(target: Target, wanted: Wanted, found: MeasuredLeakage) -> None:
    if not target.answered:
        raise UsageError("measures", LABELS, NO_GRADIENTS, "leave it out")
    samples = measured_samples(target, wanted.at_most(PAIRED))
    result = by_direction(target.gradients(samples), samples.targets, seed=target.seed)
    found.figures["label_inference_accuracy"] = result.accuracy
    found.figures["label_inference_baseline"] = result.baseline


_MEASURES = {
    "mutual_information": _mutual_information,
    "distance_correlation": _distance_correlation,
    IMAGES: _reconstruction,
    LABELS: _label_inference,
}
