"""Processor time of each measure of leakage on Fashion-MNIST's shapes, and its error on Gaussians."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from record import machine, write_result
from sglr.models.cnn import Cnn
from sglr.privacy.measures import distance_correlation, mutual_information, plug_in
from sglr.privacy.measures.estimate import Estimate
from sglr.privacy.measures.label_leakage import by_clusters, by_direction, norm_auc
from sglr.privacy.measures.mutual_information import info_nce, mine
from sglr.privacy.measures.pictures import psnr, ssim

GAUSSIANS = [(1, 0.9), (5, 0.5), (5, 0.8), (10, 0.6), (20, 0.3), (20, 0.5), (20, 0.8)]
LABELLED = 2048


def pictures(count: int) -> Tensor:
    """Draw smooth random images ``[n, 1, 28, 28]`` in ±1: only their shape and smoothness matter here."""
    coarse = torch.rand(count, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    return 2 * torch.nn.functional.interpolate(coarse, (28, 28), mode="bilinear") - 1


def smashed(images: Tensor) -> Tensor:
    """Return what the small CNN's client sends, ``[n, 16, 14, 14]``."""
    torch.manual_seed(0)
    model = Cnn((1, 28, 28), 10)
    with torch.no_grad():
        activations: Tensor = torch.nn.Sequential(model.conv1, model.relu1, model.pool1)(images)
    return activations


def measures() -> dict[str, tuple[int, Callable[[Tensor, Tensor], object]]]:
    """Return each measure with its default sample size."""
    labels = torch.arange(LABELLED) % 10
    return {
        "InfoNCE": (mutual_information.SAMPLES, partial(info_nce, seed=0)),
        "MINE": (mutual_information.SAMPLES, partial(mine, seed=0)),
        "plug-in": (plug_in.SAMPLES, partial(plug_in.binned_information, seed=0)),
        "distance correlation": (distance_correlation.SAMPLES, distance_correlation.measure),
        "PSNR": (LABELLED, lambda images, _: psnr((images + 1) / 2, (images.flip(0) + 1) / 2)),
        "SSIM": (LABELLED, lambda images, _: ssim((images + 1) / 2, (images.flip(0) + 1) / 2)),
        "labels by norm (AUC)": (LABELLED, lambda _, cut: norm_auc(cut, labels, positive=0)),
        "labels by direction": (LABELLED, lambda _, cut: by_direction(cut, labels, seed=0).accuracy),
        "labels by clusters": (LABELLED, lambda _, cut: by_clusters(cut, labels, seed=0).accuracy),
    }


def timed(samples: int, measure: Callable[[Tensor, Tensor], object], rounds: int) -> dict[str, object]:
    images = pictures(samples)
    cut, times, found = smashed(images), [], None
    for _ in range(rounds + 1):  # the first round imports and is not counted
        started = time.process_time()
        found = measure(images, cut)
        times.append(time.process_time() - started)
    assert isinstance(found, Estimate)
    return {"samples": samples, "seconds": round(min(times[1:]), 2), **found.record()}


def error(dimensions: int, correlation: float, seeds: int) -> dict[str, object]:
    """Return each bound on correlated Gaussians, over seeds, beside the truth."""
    truth = -dimensions / 2 * math.log(1 - correlation**2)
    row: dict[str, object] = {"dimensions": dimensions, "correlation": correlation, "nats": round(truth, 3)}
    for name, measure in (("InfoNCE", info_nce), ("MINE", mine)):
        found = []
        for seed in range(seeds):
            x, noise = torch.randn(
                2, mutual_information.SAMPLES, dimensions, generator=torch.Generator().manual_seed(seed)
            )
            found.append(measure(x, correlation * x + math.sqrt(1 - correlation**2) * noise, seed=seed))
        row[name] = {
            "relative_errors": [round(each.value / truth - 1, 3) for each in found],
            "intervals_that_hold_it": sum(
                each.low is not None and each.low <= truth and (each.high is None or truth <= each.high)
                for each in found
            ),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, object] = {
        "machine": machine(),
        "command": f"python benchmarks/leakage_measures.py --rounds {arguments.rounds} --seeds {arguments.seeds}",
        "fashion_mnist_shapes": {name: timed(*each, arguments.rounds) for name, each in measures().items()},
        "gaussians": [error(*each, arguments.seeds) for each in GAUSSIANS],
    }
    write_result("leakage_measures", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
