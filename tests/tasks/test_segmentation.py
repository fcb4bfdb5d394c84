"""Segmentation: losses by hand and as torch has them, scores equal to torchmetrics' over all pixels at once."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise
from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import vmap
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

from sglr.core.data import ClientData, Samples
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.tasks.segmentation import Segmentation

LOSSES = ("cross_entropy", "dice", "dice_cross_entropy")
MASKS = Targets(("background", "organ", "tumour"), (4, 5), "uint8", 3)

# Four pixels, of which the second class has two: probabilities 1/2, 3/4, 1/4, 1/2 for it.
LOGITS = torch.tensor([[[0.0, 0, 0, 0], [0, log(3), -log(3), 0]]]).unflatten(2, (2, 2))
MASK = torch.tensor([[[0, 1], [0, 1]]])


def test_losses_by_hand() -> None:
    entropy = -(log(1 / 2) + log(3 / 4) + log(3 / 4) + log(1 / 2)) / 4
    # Both classes: 2 · (3/4 + 1/2) / (2 + 2)
    dice = 1 - 2 * 1.25 / 4
    for loss, expected in zip(LOSSES, (entropy, dice, entropy + dice), strict=True):
        assert Segmentation(loss).losses(LOGITS, MASK).item() == pytest.approx(expected, abs=1e-5)


def test_pixels_that_do_not_count_are_as_if_not_there() -> None:
    mask = torch.tensor([[[0, 1], [0, 255]]], dtype=torch.uint8)
    # Second class: 2 · 3/4 / (1/2 + 3/4 + 1/4 + 1); first: 2 · (1/2 + 3/4) / (1/2 + 1/4 + 3/4 + 2)
    dice = 1 - (1.5 / 2.5 + 2.5 / 3.5) / 2
    assert Segmentation("dice", 255).losses(LOGITS, mask).item() == pytest.approx(dice, abs=1e-5)
    task = Segmentation("dice_cross_entropy", 255)
    changed = LOGITS.clone()
    changed[..., 1, 1] = torch.tensor([[7.0, -7.0]])
    torch.testing.assert_close(task.losses(changed, mask), task.losses(LOGITS, mask))
    empty = torch.full((1, 2, 2), 255)
    given = LOGITS.clone().requires_grad_()
    loss = task.losses(given, empty)
    assert (loss.item(), torch.autograd.grad(loss.sum(), given)[0].abs().sum().item()) == (0, 0)
    assert task.hits(LOGITS, mask).item() == pytest.approx(1), "of the three that count: ties go to the first class"


def test_only_classes_that_a_sample_has_are_in_its_dice_and_weights_weigh_them() -> None:
    logits = torch.cat([LOGITS, LOGITS.new_full((1, 1, 2, 2), -30)], 1)
    assert Segmentation("dice").losses(logits, MASK).item() == pytest.approx(1 - 2.5 / 4, abs=1e-5)
    mask = torch.tensor([[[0, 1], [0, 0]]])
    # First class: 2 · (1/2 + 3/4 + 1/2) / (2 + 3); second: 2 · 3/4 / (2 + 1)
    first, second = 1 - 3.5 / 5, 1 - 1.5 / 3
    weighted = Segmentation("dice", class_weights=(1, 3, 9)).losses(logits, mask)
    assert weighted.item() == pytest.approx((first + 3 * second) / 4, abs=1e-5)


@given(st.integers(1, 3), st.sampled_from([(3,), (2, 3), (2, 1, 3)]), st.booleans(), st.integers(0, 9))
def test_cross_entropy_of_a_sample_is_that_of_torch(
    samples: int, size: tuple[int, ...], weighted: bool, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    outputs = torch.randn(samples, 4, *size, generator=rng)
    targets = torch.randint(0, 4, (samples, *size), generator=rng)
    targets[:, 0] = 255
    targets[:, -1] = 1
    weights = torch.tensor([1.0, 0.5, 2.0, 0.1]) if weighted else None
    task = Segmentation("cross_entropy", 255, () if weights is None else tuple(weights.tolist()))
    alone = [
        F.cross_entropy(output[None], target[None], weights, ignore_index=255)
        for output, target in zip(outputs, targets, strict=True)
    ]
    torch.testing.assert_close(task.losses(outputs, targets.to(torch.uint8)), torch.stack(alone))
    torch.testing.assert_close(task.losses(outputs, targets.unsqueeze(1)), torch.stack(alone))


def test_losses_of_many_clients_at_once_are_those_of_each() -> None:
    outputs, targets = torch.randn(3, 2, 3, 4, 5), torch.randint(0, 3, (3, 2, 4, 5))
    for loss in LOSSES:
        task = Segmentation(loss, 2, (1.0, 2.0, 3.0))  # type: ignore[arg-type]
        each = torch.stack([task.losses(*client) for client in zip(outputs, targets, strict=True)])
        torch.testing.assert_close(vmap(task.losses)(outputs, targets), each)


@given(
    st.integers(1, 12),
    st.integers(1, 3),
    st.integers(2, 5),
    st.sampled_from([None, 255, -1, 0, 1]),
    st.lists(st.integers(1, 11), max_size=3),
    st.integers(0, 9),
)
def test_scores_are_those_of_torchmetrics_over_all_samples_however_they_were_cut(
    samples: int, clients: int, classes: int, ignored: int | None, cuts: list[int], seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    outputs = torch.randn(clients, samples, classes, 3, 4, generator=rng)
    # The last class may be nowhere wanted, and is predicted.
    targets = torch.randint(0, classes - seed % 2, (samples, 3, 4), generator=rng)
    if ignored is not None:
        targets[torch.rand(targets.shape, generator=rng) < 0.3] = ignored
        targets[0, 0, 0] = 0 if ignored else 1
    task = Segmentation(ignore_index=ignored)
    edges = sorted({0, samples, *(cut for cut in cuts if cut < samples)})
    parts = [task.sums(outputs[:, a:b], targets[a:b]) for a, b in pairwise(edges)]
    sums = {name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}
    scores = task.scores(sums)
    for client, predicted in enumerate(outputs.argmax(2)):
        metrics = {
            "dice": MulticlassF1Score(classes, average="macro", ignore_index=ignored),
            "iou": MulticlassJaccardIndex(classes, average="macro", ignore_index=ignored),
            "pixel_accuracy": MulticlassAccuracy(classes, average="micro", ignore_index=ignored),
        }
        for name, metric in metrics.items():
            if name == "dice" and ignored in range(classes):
                continue  # torchmetrics leaves an ignored class out of the mean IoU, and not of the mean Dice
            expected = metric(predicted, targets).double()
            torch.testing.assert_close(scores[name][client], expected, atol=1e-6, rtol=1e-6)
    assert next(iter(scores)) == task.headline
    torch.testing.assert_close(sums["confusion"].sum(1), sums["support"].sum(0))
    torch.testing.assert_close(sums["confusion"].diagonal(), sums["right"].sum(0))


def test_figures_tell_each_class_and_none_for_one_that_is_nowhere() -> None:
    task = Segmentation()
    targets = torch.zeros(1, 4, 5, dtype=torch.uint8)
    targets[0, 0] = 1
    outputs = F.one_hot(targets.long(), 3).movedim(-1, 1).float()[None]
    told = task.figures(task.sums(outputs, targets), MASKS)
    assert told["per_class"] == [
        {"name": "background", "iou": 1, "dice": 1},
        {"name": "organ", "iou": 1, "dice": 1},
        {"name": "tumour", "iou": None, "dice": None},
    ]
    assert told["confusion"] == [[15, 0, 0], [0, 5, 0], [0, 0, 0]]


@pytest.mark.parametrize(("shape", "size"), [((4, 5), (4, 5)), ((1, 4, 5), (4, 5)), ((2, 4, 5), (2, 4, 5))])
def test_the_network_gives_one_value_per_class_for_each_pixel(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    targets = Targets(shape=shape, classes=3)
    Segmentation().check(targets)
    assert (Segmentation().outputs(targets), Segmentation().output_shape(targets)) == (3, (3, *size))


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (Targets.of_classes(("no", "yes")), "needs a mask of class numbers"),
        (Targets(shape=(8, 8), dtype="float32"), "needs a mask of class numbers"),
        (Targets(shape=(14,), classes=2), "needs a mask of class numbers"),
        (Targets(shape=(8, 8), classes=4), "class_weights = 1,5: there are 4 classes"),
    ],
)
def test_refuses_targets_that_do_not_fit(targets: Targets, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        Segmentation(class_weights=(1, 5)).check(targets)
    assert said in str(raised.value)


@pytest.mark.parametrize("weights", [(1.0, -1.0), (0.0, 0.0), (float("nan"),)])
def test_refuses_weights_that_do_not_weigh(weights: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="class_weights"):
        Segmentation(class_weights=weights)


@pytest.mark.parametrize(
    ("ignored", "numbers", "said"),
    [
        (None, [0, 1, 255], "train.targets = 255: is no class: they are 0 to 2, and ignore_index is None; give ignore"),
        (-100, [0, 2, 255], "train.targets = 255: is no class: they are 0 to 2, and ignore_index is -100; give ignore"),
        (255, [0, 2, 255], ""),
        (None, [0, 1, 2], ""),
    ],
)
def test_numbers_in_masks_that_are_no_class_are_named_before_training(
    ignored: int | None, numbers: list[int], said: str
) -> None:
    masks = torch.tensor(numbers, dtype=torch.uint8).expand(2, 2, 3)
    samples = Samples(torch.zeros(2, 1, 2, 3), masks)
    data = ClientData(samples, (torch.arange(2),), None, samples, Targets(shape=(2, 3), dtype="uint8", classes=3))
    with pytest.raises(UsageError) if said else nullcontext() as raised:
        Segmentation(ignore_index=ignored).fitted(data)
    assert raised is None or said in str(raised.value)
