"""Projections: whitened, and blind to what is nearly constant; normal scores by hand."""

from __future__ import annotations

import pytest
import torch

from sglr.privacy.measures.projection import fit_projection, normal_scores


def rows(count: int, values: int) -> torch.Tensor:
    return torch.randn(count, values, generator=torch.Generator().manual_seed(0)) * torch.arange(1, values + 1)


@pytest.mark.parametrize(("values", "off"), [(3, 1e-6), (200, 0.05)], ids=["exact", "randomized"])
def test_components_have_unit_variance_and_no_correlation(values: int, off: float) -> None:
    samples = rows(500, values) + 7
    found = fit_projection(samples, 3, seed=0)(samples)
    torch.testing.assert_close(found.T.cov(), torch.eye(3, dtype=torch.float64), atol=off, rtol=0)
    torch.testing.assert_close(found.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_randomized_decomposition_finds_the_directions_of_the_exact_one() -> None:
    samples = rows(300, 5) @ torch.randn(5, 100, generator=torch.Generator().manual_seed(1))
    _, _, exact = torch.linalg.svd((samples - samples.mean(0)).double(), full_matrices=False)
    found = fit_projection(samples, 5, seed=0).directions
    aligned = torch.nn.functional.normalize(found, dim=0).T @ exact[:5].T
    torch.testing.assert_close(aligned.abs(), torch.eye(5, dtype=torch.float64), atol=1e-6, rtol=0)


def test_dead_units_are_no_component() -> None:
    samples = torch.cat([rows(100, 2), torch.full((100, 3), 0.5)], 1)
    assert fit_projection(samples, 5, seed=0)(samples).shape == (100, 2)


def test_normal_scores_by_hand() -> None:
    """Of three values the lowest is at 1/4 of the ranks, the middle at 1/2; equal ones share the middle."""
    fitted = torch.tensor([[3.0], [1.0], [2.0]])
    found = normal_scores(fitted, torch.tensor([[1.0], [2.0], [3.0]]))
    torch.testing.assert_close(
        found[:, 0], torch.tensor([-0.67449, 0.0, 0.67449], dtype=torch.float64), atol=1e-5, rtol=0
    )
    assert normal_scores(torch.ones(9, 1), torch.ones(1, 1)).item() == 0


def test_values_beyond_the_fitted_ones_stay_finite() -> None:
    assert torch.isfinite(normal_scores(rows(50, 2), torch.tensor([[1e9, -1e9]]))).all()
