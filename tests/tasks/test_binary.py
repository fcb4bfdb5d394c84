"""Yes or no: losses by hand, scores of all samples however they are cut, and a threshold from validation."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import vmap
from torchmetrics.functional import classification

from sglr.core.data import ClientData, Samples
from sglr.core.errors import UsageError
from sglr.core.registry import TASKS
from sglr.core.spec import options_of
from sglr.core.task import Targets
from sglr.metrics.curves import thresholds_with
from sglr.tasks.binary import Binary

ILL = Targets.of_classes(("well", "ill"))


def sure(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_losses_by_hand() -> None:
    outputs, targets = torch.tensor([[sure(0.8)], [sure(0.8)]]), torch.tensor([1, 0])
    plain = [-math.log(0.8), -math.log(0.2)]
    assert Binary().losses(outputs, targets).tolist() == pytest.approx(plain, rel=1e-5)
    weighted = Binary(positive_weight=("3",))
    assert weighted.losses(outputs, targets).tolist() == pytest.approx([3 * plain[0], plain[1]], rel=1e-5)
    assert weighted.test_losses(outputs, targets).tolist() == pytest.approx(plain, rel=1e-5)
    focal = [0.2**2 * plain[0], 0.8**2 * plain[1]]
    for loss in ("focal", "focal:2"):
        assert Binary(loss=loss).losses(outputs, targets).tolist() == pytest.approx(focal, rel=1e-5)


def test_a_loss_is_taken_row_by_row_and_has_gradients() -> None:
    outputs, targets = torch.randn(3, 4, 1, requires_grad=True), torch.randint(2, (3, 4))
    task = Binary(loss="focal:1.5", positive_weight=("2",))
    losses = task.losses(outputs.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(vmap(task.losses)(outputs, targets).flatten(), losses)
    losses.sum().backward()
    assert outputs.grad is not None
    assert (outputs.grad[..., 0].sign() == 1 - 2 * targets).all()  # towards what is true
    assert Binary().losses(torch.full((1, 1), torch.nan), torch.tensor([1])).isnan().all()


def between_thresholds(*shape: int) -> torch.Tensor:
    """Logits halfway between two thresholds: those that the thresholds don't tell apart are equal."""
    grid = torch.tensor(thresholds_with())
    return ((grid[1:] + grid[:-1]) / 2)[torch.randint(50, 150, shape)]


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 3),
    st.integers(4, 40),
    st.lists(st.integers(1, 39), max_size=3),
    st.sampled_from([None, 0.2, 0.6]),
    st.integers(0, 2**31),
)
def test_scores_are_torchmetrics_of_all_samples_at_once(clients, samples, cuts, threshold, seed) -> None:
    torch.manual_seed(seed)
    outputs, targets = between_thresholds(clients, samples, 1), torch.randint(2, (samples,))
    targets[:2] = torch.tensor([0, 1])
    task = Binary(threshold=threshold, metrics=("kappa", "torchmetrics:MatthewsCorrCoef"))
    edges = [0, *sorted({cut for cut in cuts if cut < samples}), samples]
    parts = [task.sums(outputs[:, start:end], targets[start:end]) for start, end in pairwise(edges)]
    sums = {name: sum(part[name] for part in parts) for name in parts[0]}
    scores = task.scores(sums)
    assert tuple(scores) == task.score_names
    assert task.headline == next(iter(scores))
    at = {"threshold": threshold or 0.5}
    for client in range(clients):
        logits = outputs[client, :, 0].double()
        chances = logits.sigmoid()
        # Of equal logits the sigmoid may be rounded differently, by their places in the tensor.
        in_order = (logits - logits.min()) / (logits.max() - logits.min()).clamp(min=1e-9)
        wanted = {
            "accuracy": classification.binary_accuracy(chances, targets, **at),
            "f1": classification.binary_f1_score(chances, targets, **at),
            "recall": classification.binary_recall(chances, targets, **at),
            "specificity": classification.binary_specificity(chances, targets, **at),
            "kappa": classification.binary_cohen_kappa(chances, targets, **at),
            "MatthewsCorrCoef": classification.binary_matthews_corrcoef(chances, targets, **at),
            "brier": (chances - targets).square().mean(),
            "calibration_error": classification.binary_calibration_error(chances, targets, n_bins=15),
            "auroc": classification.binary_auroc(in_order, targets),
        }
        wanted["balanced_accuracy"] = (wanted["recall"] + wanted["specificity"]) / 2
        for name, value in wanted.items():
            assert float(scores[name][client]) == pytest.approx(float(value), abs=1e-5), name
        hits = task.hits(outputs[client], targets)
        assert float(hits.double().mean()) == pytest.approx(float(scores["accuracy"][client]))


def test_the_threshold_comes_from_validation_unless_it_is_given() -> None:
    generator = torch.Generator().manual_seed(1)
    targets = (torch.rand(400, generator=generator) < 0.1).long()
    outputs = torch.randn(2, 400, 1, generator=generator) + 2 * targets[:, None] - 3
    sums = Binary().sums(outputs, targets)
    chosen = Binary().calibrated(sums)
    assert chosen.threshold is not None
    assert 0.02 < chosen.threshold < 0.4
    assert Binary(threshold=0.4).calibrated(sums).threshold == 0.4
    # What others counted without the threshold is scored at it.
    before, after = Binary().scores(sums), chosen.scores(sums)
    assert (after["balanced_accuracy"] > before["balanced_accuracy"] + 0.1).all()
    assert after["auroc"].equal(before["auroc"])
    assert {name: value.tolist() for name, value in chosen.sums(outputs, targets).items()} == {
        name: value.tolist() for name, value in sums.items()
    }
    further = {"metrics": ("kappa", "jaccard")}
    counted = Binary(**further).sums(outputs, targets)
    found = Binary(**further).calibrated(counted).scores(counted)
    calls = outputs[0, :, 0].sigmoid() >= chosen.threshold
    assert float(found["kappa"][0]) == pytest.approx(float(classification.binary_cohen_kappa(calls.long(), targets)))
    assert float(found["jaccard"][0]) == pytest.approx(
        float(classification.binary_jaccard_index(calls.long(), targets))
    )
    figures = chosen.figures(sums, ILL)
    assert figures["threshold"] == chosen.threshold
    assert sum(map(sum, figures["confusion"])) == 800
    assert figures["roc"]["true_positive_rate"][-1] == 1
    one_class = Binary().sums(outputs, torch.zeros(400, dtype=torch.int64))
    assert Binary().calibrated(one_class).threshold is None
    assert Binary().scores(one_class)["auroc"].isnan().all()
    assert "roc" not in Binary().figures(one_class, ILL)


def test_a_network_that_is_sure_of_all_is_scored_at_the_threshold_that_was_chosen() -> None:
    grid, targets = thresholds_with(), torch.tensor([0, 1] * 50)
    told = [place for place, one in enumerate(grid[1:-1], 1) if 1 / (1 + math.exp(-one)) < 1]
    for place in told:
        low, high = (grid[place - 1] + grid[place]) / 2, (grid[place] + grid[place + 1]) / 2
        outputs = torch.where(targets == 1, high, low)[:, None]
        sums = Binary().sums(outputs[None], targets)
        task = Binary().calibrated(sums)
        assert task.scores(sums)["accuracy"].item() == 1, grid[place]
        assert task.hits(outputs, targets).all(), grid[place]
        assert task.predictions(outputs, ILL)["class"] == ["well", "ill"] * 50, grid[place]


def test_a_network_that_is_too_sure_for_any_probability_gets_the_best_threshold_that_is_one() -> None:
    # Between 40 and 45 all would be right, but there a probability is 1; below, the second sample is called ill.
    targets = torch.tensor([0, 0, 1, 1])
    outputs = torch.tensor([-5.0, 40.0, 45.0, 45.0])[None, :, None]
    sums = Binary().sums(outputs, targets)
    task = Binary().calibrated(sums)
    assert task.threshold is not None
    assert 0.5 < task.threshold < 1
    assert task.scores(sums)["accuracy"].item() == 0.75
    assert task.scores(sums)["auroc"].item() == 1


def test_balanced_weights_are_those_of_the_clients_training_data() -> None:
    train = Samples(torch.zeros(8, 1), torch.tensor([1, 0, 0, 0, 0, 1, 1, 1]))
    data = ClientData(train, (torch.arange(3), torch.arange(3, 5)), None, train, ILL)
    task = Binary(positive_weight=("balanced",)).fitted(data)
    assert task.positive_weight == ("4",)
    assert Binary().fitted(data) == Binary()
    nothing = ClientData(Samples(torch.zeros(0, 1), torch.zeros(0).long()), (), None, train, ILL)
    with pytest.raises(UsageError, match="the server does not know"):
        Binary(positive_weight=("balanced",)).fitted(nothing)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (Targets.of_classes(("a", "b", "c")), "use --task classification"),
        (Targets(dtype="float32"), "use --task regression"),
        (Targets(("x", "y"), (2,), classes=2), "use --task multilabel"),
    ],
)
def test_targets_that_do_not_fit_are_refused(targets: Targets, said: str) -> None:
    with pytest.raises(UsageError, match=f"task = binary: .*{said}"):
        Binary().check(targets)
    Binary().check(ILL)


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": "mse"},
        {"loss": "focal:-1"},
        {"loss": "cross_entropy:2"},
        {"positive_weight": ("0",)},
        {"positive_weight": ("many",)},
        {"positive_weight": ("nan",)},
        {"threshold": 1.0},
        {"threshold": math.nan},
    ],
)
def test_parameters_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(UsageError, match=f"^{next(iter(wrong))} = "):
        Binary(**wrong)
    with pytest.raises(UsageError, match="each sample has 1 of them"):
        Binary(positive_weight=("1", "2")).check(ILL)


@pytest.mark.parametrize("name", ["binary", "multilabel", "ordinal"])
def test_parameters_are_read_without_torch(name: str) -> None:
    outline = TASKS.outline(name)
    assert outline is not TASKS.load(name)
    assert list(options_of(outline)) == list(options_of(TASKS.load(name)))
    assert outline().__dict__ == TASKS.load(name)().__dict__
