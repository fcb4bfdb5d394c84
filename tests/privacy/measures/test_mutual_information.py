"""Bounds on mutual information: correlated Gaussians whose truth is known, and what no estimator may get wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.errors import UsageError
from sglr.privacy.measures.estimate import Estimate
from sglr.privacy.measures.mutual_information import SAMPLES, MovingPartition, info_nce, mine

BOTH = pytest.mark.parametrize("measure", [info_nce, mine], ids=["InfoNCE", "MINE"])


def gaussians(count: int, dimensions: int, correlation: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, count, dimensions, generator=rng)
    return x, correlation * x + math.sqrt(1 - correlation**2) * noise


def truth(dimensions: int, correlation: float) -> float:
    return -dimensions / 2 * math.log(1 - correlation**2)


def holds(found: Estimate, value: float) -> bool:
    return found.low <= value and (found.high is None or value <= found.high)


@BOTH
@pytest.mark.parametrize(
    ("dimensions", "correlation"),
    [
        (5, 0.8),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in ((1, 0.9), (2, 0.8), (5, 0.5), (10, 0.6), (20, 0.3), (20, 0.5))
        ),
    ],
    ids=str,
)
def test_gaussians_within_a_tenth_or_the_interval_says_so(measure, dimensions: int, correlation: float) -> None:
    known = truth(dimensions, correlation)
    found = measure(*gaussians(SAMPLES, dimensions, correlation), seed=0)
    assert abs(found.value / known - 1) < 0.1 or holds(found, known)
    assert found.value == pytest.approx(known, rel=0.15)
    assert (found.unit, found.samples) == ("nats", SAMPLES)


@pytest.mark.slow
@BOTH
def test_what_is_beyond_the_ceiling_has_no_upper_end(measure) -> None:
    found = measure(*gaussians(1024, 20, 0.9), seed=0)
    assert truth(20, 0.9) > math.log(512)
    assert found.high is None
    assert 4 < found.low <= math.log(512)


def test_infonce_never_exceeds_the_logarithm_of_its_batch() -> None:
    x, _ = gaussians(512, 8, 0.0)
    found = info_nce(x, 3 * x, seed=0)
    assert found.value <= math.log(256)
    assert found.value > 0.9 * math.log(256)
    assert found.high is None


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("coarse", [5, pytest.param(7, marks=pytest.mark.slow)])
def test_smashed_data_that_determine_the_input_reach_the_ceiling(measure, coarse: int) -> None:
    """As those of a convolution do: I(X; Y) has no end, and no estimate but that of the ceiling makes sense."""
    rng = torch.Generator().manual_seed(7)
    images = F.interpolate(torch.rand(1024, 1, coarse, coarse, generator=rng), (28, 28), mode="bilinear")
    kernels = torch.randn(8, 1, 3, 3, generator=rng)
    found = measure(images, F.max_pool2d(F.conv2d(images, kernels).relu(), 2), seed=0)
    assert 4 < found.low <= found.value <= math.log(512)
    assert found.high is None


@BOTH
@pytest.mark.parametrize("dimensions", [1, 30])
def test_independent_samples_share_nothing(measure, dimensions: int) -> None:
    found = measure(*gaussians(1024, dimensions, 0.0), seed=0)
    assert abs(found.value) < 0.05
    assert found.high >= 0


@pytest.mark.slow
@BOTH
def test_neither_scale_nor_rotation_matters(measure) -> None:
    """A projection on whitened components sees the same up to a rotation, which the closed form doesn't see."""
    x, y = gaussians(1024, 4, 0.7)
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))
    before, after = measure(x, y, seed=0), measure(100 * x @ turn + 5, 0.01 * y @ turn.T, seed=0)
    assert after.value == pytest.approx(before.value, abs=0.05)


@pytest.mark.slow
@BOTH
def test_maps_of_values_that_grow_with_them_change_nothing(measure) -> None:
    x, y = gaussians(512, 1, 0.9)
    before, after = measure(x, y, seed=0), measure(x.sinh(), y.pow(3) + y, seed=0)
    assert after.value == pytest.approx(before.value, abs=1e-4)


@pytest.mark.slow
@BOTH
def test_an_invertible_map_that_mixes_values_changes_little(measure) -> None:
    """A shear bends the first column by the second one's square; the second is untouched."""
    x, y = gaussians(2048, 2, 0.9)
    bent = torch.stack([y[:, 0] + 0.5 * y[:, 1].square(), y[:, 1]], 1)
    before, after = measure(x, y, seed=0), measure(x, bent, seed=0)
    assert after.value == pytest.approx(before.value, rel=0.15)


@pytest.mark.slow
@BOTH
def test_what_is_not_linear_is_seen(measure) -> None:
    """The sign of y is all that x² + noise leaves open: correlations see nothing of it."""
    x, noise = torch.randn(2, 1024, 1, generator=torch.Generator().manual_seed(2))
    assert measure(x, x.square() + 0.3 * noise, seed=0).low > 0.5


@pytest.mark.slow
@BOTH
def test_further_processing_loses_information(measure) -> None:
    x, y = gaussians(1024, 3, 0.9)
    rng = torch.Generator().manual_seed(3)
    blurred = y + torch.randn(y.shape, generator=rng)
    coarser = blurred[:, :1].round()
    values = [measure(x, each, seed=0).value for each in (y, blurred, coarser)]
    assert values == sorted(values, reverse=True)


@pytest.mark.slow
@BOTH
def test_lower_ends_are_lower_bounds(measure) -> None:
    """Nearly all lower ends are below the truth, and most intervals hold it."""
    found = [measure(*gaussians(1024, 3, 0.7, seed), seed=seed) for seed in range(20)]
    known = truth(3, 0.7)
    assert sum(each.low <= known for each in found) >= 18
    assert sum(holds(each, known) for each in found) >= 17
    assert np.mean([each.value for each in found]) <= known


@pytest.mark.slow
def test_it_agrees_with_nearest_neighbours_where_nothing_is_gaussian() -> None:
    """The estimator of Kraskov, Stögbauer and Grassberger, in infomeasure."""
    import infomeasure

    rng = torch.Generator().manual_seed(4)
    x = torch.rand(2048, 1, generator=rng)
    y = (3 * x).sin() + 0.2 * torch.randn(2048, 1, generator=rng)
    other = infomeasure.mutual_information(x.numpy()[:, 0], y.numpy()[:, 0], approach="ksg", noise_level=0)
    assert info_nce(x, y, seed=0).value == pytest.approx(other, rel=0.12)


@pytest.mark.slow
@BOTH
def test_thousands_of_values_are_projected_first(measure) -> None:
    rng = torch.Generator().manual_seed(5)
    x, y = gaussians(1024, 4, 0.8)
    wide = torch.randn(4, 3 * 28 * 28, generator=rng), torch.randn(4, 16 * 14 * 14, generator=rng)
    found = measure((x @ wide[0]).view(-1, 3, 28, 28), (y @ wide[1]).view(-1, 16, 14, 14), seed=0)
    assert found.value == pytest.approx(truth(4, 0.8), rel=0.15)


@pytest.mark.slow
@BOTH
def test_the_seed_decides_everything_and_torchs_generator_stays(measure) -> None:
    x, y = gaussians(512, 3, 0.7)
    before = torch.get_rng_state()
    first, second, third = (measure(x, y, seed=seed) for seed in (0, 0, 1))
    assert first == second != third
    assert torch.equal(before, torch.get_rng_state())


def test_the_gradient_of_mine_is_belghazis() -> None:
    """E[∇f] − E[exp f ∇f] / average, by hand: off the diagonal exp f over the average and the number of pairs."""
    bound = MovingPartition()
    first, second = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(6))
    bound(first)
    scores = second.requires_grad_()
    (gradient,) = torch.autograd.grad(bound(scores), scores)
    others = ~torch.eye(3, dtype=torch.bool)
    average = 0.9 * first.exp()[others].mean() + 0.1 * second.detach().exp()[others].mean()
    by_hand = torch.where(others, -second.detach().exp() / average / 6, torch.full((3, 3), 1 / 3))
    torch.testing.assert_close(gradient, by_hand)


@BOTH
@pytest.mark.parametrize(
    ("x", "y", "problem"),
    [
        (torch.zeros(255, 2), torch.zeros(255, 2), "needs 256 samples"),
        (torch.arange(300.0), torch.arange(299.0), "smashed has 299"),
        (torch.arange(300.0), torch.ones(300), "all samples are the same"),
        (torch.full((300, 1), torch.inf), torch.arange(300.0), "not finite"),
    ],
    ids=["few", "lengths", "constant", "infinite"],
)
def test_unfit_samples_are_refused(measure, x: Tensor, y: Tensor, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        measure(x, y, seed=0)


def test_a_projection_has_a_component_at_least() -> None:
    with pytest.raises(UsageError, match="dimensions"):
        info_nce(*gaussians(300, 2, 0.5), seed=0, dimensions=0)
