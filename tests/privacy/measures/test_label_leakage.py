"""Labels from gradients: found where they show, and not where they don't."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.errors import UsageError
from sglr.privacy.measures.label_leakage import by_clusters, by_direction, by_norm, norm_auc

ATTACKS = [by_norm, lambda g, y: by_direction(g, y, seed=0), lambda g, y: by_clusters(g, y, seed=0)]
EVERY = pytest.mark.parametrize("attack", ATTACKS, ids=["norm", "direction", "clusters"])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cut_gradients(classes: int, shares: list[float], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return gradients of 400 samples' losses with respect to random smashed data, before a linear server."""
    labels = torch.multinomial(torch.tensor(shares), 400, replacement=True, generator=rng(seed))
    smashed = torch.randn(400, 24, generator=rng(seed + 1)).requires_grad_()
    server = nn.utils.skip_init(nn.Linear, 24, classes)
    with torch.no_grad():
        server.weight.copy_(0.1 * torch.randn(classes, 24, generator=rng(seed + 2)))
        # A server that has learned how rare a class is, as all do first.
        server.bias.copy_(torch.tensor(shares).log())
    loss = F.cross_entropy(server(smashed), labels, reduction="sum")
    (gradients,) = torch.autograd.grad(loss, smashed)
    return gradients, labels


def test_norms_tell_a_rare_class() -> None:
    gradients, labels = cut_gradients(2, [0.95, 0.05])
    found = by_norm(gradients, labels)
    assert found.accuracy.low > found.baseline.value
    assert found.accuracy.value > 0.98
    assert norm_auc(gradients, labels).low > 0.99


def test_of_three_classes_one_is_told_from_the_others() -> None:
    """Not well: the others' norms differ too, and guessing the frequent ones is right more often."""
    gradients, labels = cut_gradients(3, [0.48, 0.47, 0.05])
    found = by_norm(gradients, labels, positive=2)
    assert norm_auc(gradients, labels, positive=2).low > 0.5
    assert found.baseline.value == pytest.approx(float((labels != 2).float().mean()))
    with pytest.raises(UsageError, match="name the label"):
        by_norm(gradients, labels)
    with pytest.raises(UsageError, match="no sample has this label"):
        by_norm(gradients, labels, positive=7)


@EVERY
def test_gradients_of_noise_tell_nothing(attack) -> None:
    labels = torch.arange(400) % 2
    found = attack(torch.randn(400, 16, generator=rng()), labels)
    assert found.accuracy.low <= 0.56
    assert found.baseline.value == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("attack", ATTACKS[1:], ids=["direction", "clusters"])
def test_directions_tell_classes(attack) -> None:
    gradients, labels = cut_gradients(4, [0.25] * 4)
    found = attack(gradients, labels)
    assert found.accuracy.low > 0.9
    assert found.baseline.high < 0.4


def test_two_classes_point_opposite_ways() -> None:
    """Gradients of a logistic loss are multiples of one vector, whose sign is the label (Li et al.)."""
    gradients, labels = cut_gradients(2, [0.5, 0.5])
    assert by_direction(gradients, labels, seed=0).accuracy.value == 1
    assert by_clusters(gradients, labels, seed=0).accuracy.value == 1


def test_noise_on_gradients_hides_labels() -> None:
    gradients, labels = cut_gradients(4, [0.25] * 4)
    noise = torch.randn(gradients.shape, generator=rng(9)) * gradients.norm(dim=1).mean()
    values = [by_direction(gradients + level * noise, labels, seed=0).accuracy.value for level in (0, 0.3, 3)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5


@given(st.floats(1e-6, 1e6), st.sampled_from([0, 1, 2]))
def test_the_unit_of_gradients_and_the_order_of_names_do_not_matter(scale: float, attack: int) -> None:
    gradients, labels = cut_gradients(2, [0.8, 0.2])
    plain, other = ATTACKS[attack](gradients, labels), ATTACKS[attack](gradients.double() * scale, 7 - 3 * labels)
    if attack != 1:  # which samples are known depends on the names' order there, and changes nothing else
        assert other.accuracy.value == plain.accuracy.value
    assert other.baseline.samples == plain.baseline.samples


def test_known_samples_are_not_counted() -> None:
    gradients, labels = cut_gradients(4, [0.25] * 4)
    found = by_direction(gradients, labels, seed=0)
    assert found.accuracy.samples == found.baseline.samples == 396
    assert found == by_direction(gradients, labels, seed=0)


def test_the_auc_by_hand_counts_ties_as_half() -> None:
    gradients = torch.tensor([1.0, 2, 2, 3, 4, 5, 6, 7, 8, 9])[:, None]
    labels = torch.tensor([0, 0, 1, 0, 0, 0, 1, 0, 0, 0])
    assert norm_auc(gradients, labels).value == pytest.approx((1 + 0.5 + 5) / 16)


@given(st.integers(0, 10**6))
def test_the_auc_is_scikit_learns(seed: int) -> None:
    from sklearn.metrics import roc_auc_score

    gradients = torch.randn(50, 3, generator=rng(seed))
    labels = (torch.rand(50, generator=rng(seed + 1)) < 0.3).long()
    labels[:2] = torch.tensor([0, 1])
    expected = roc_auc_score(labels.numpy(), gradients.norm(dim=1).double().numpy())
    assert norm_auc(gradients, labels, positive=1).value == pytest.approx(expected, abs=1e-6)


def test_gradients_of_few_directions_make_fewer_clusters() -> None:
    labels = torch.arange(30) % 3
    gradients = torch.eye(2)[labels.clamp(max=1)]
    assert by_clusters(gradients, labels, seed=0).accuracy.value == pytest.approx(2 / 3)


@EVERY
@pytest.mark.parametrize(
    ("gradients", "labels", "problem"),
    [
        (torch.randn(9, 3), torch.arange(9) % 2, "needs 10 samples"),
        (torch.randn(20, 3), torch.arange(19) % 2, "gradients has 20"),
        (torch.zeros(20, 3), torch.arange(20) % 2, "all samples are the same"),
        (torch.randn(20, 3) / 0, torch.arange(20) % 2, "not finite"),
        (torch.randn(20, 3), torch.zeros(20, dtype=torch.long), "all samples have this label"),
        (torch.randn(20, 3), torch.rand(20), "not one whole number"),
    ],
    ids=["few", "lengths", "constant", "infinite", "one class", "fractions"],
)
def test_unfit_samples_are_refused(attack, gradients: Tensor, labels: Tensor, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        attack(gradients, labels)


def test_a_class_needs_a_second_sample() -> None:
    with pytest.raises(UsageError, match="one sample only"):
        by_direction(torch.randn(12, 3), torch.arange(12), seed=0)
