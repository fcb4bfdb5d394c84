"""Figures of every cut follow from one pass, agree with what a cut model does, and find the cut of a share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.model import build_model
from sglr.cost.computation import segment_flops
from sglr.cost.units import read_time
from sglr.planner.cut_figures import Crosses, CutFigures, Link
from sglr.planner.figures_of_cuts import figures_of_cuts
from sglr.planner.share_of_cut import nearest, nearest_cut, share_of
from sglr.splitting import split


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.third(h + self.second(h))


class Counting(Skip):
    """No tracer takes it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x[: len(x)])))


def test_by_hand() -> None:
    (cut,) = figures_of_cuts(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), torch.randn(2, 4))
    assert (cut.layer, [value.shape for value in cut.crosses], cut.bytes) == ("0", [(8,)], 32)
    assert (cut.client_flops, cut.server_flops) == (2 * 4 * 8, 2 * 8 * 2)
    assert (cut.client_weights, cut.server_weights) == (40, 18)
    assert cut.share == pytest.approx(2 / 3)


def test_all_that_crosses_is_listed() -> None:
    cuts = {cut.layer: cut for cut in figures_of_cuts(Skip(), torch.randn(2, 4))}
    assert [value.name for value in cuts["second"].crosses] == ["second", "first"]
    assert cuts["second"].bytes == 2 * cuts["first"].bytes == 64


@pytest.mark.parametrize("model", ["cnn", "resnet16"])
def test_operations_and_weights_are_those_of_the_parts(model: str) -> None:
    whole, example = build_model(model, (1, 16, 16), 5), torch.randn(2, 1, 16, 16)
    cuts = {cut.layer: cut for cut in figures_of_cuts(whole, example)}
    for layer in ("pool1", "conv2") if model == "cnn" else ("layer1", "layer2.0"):
        lower, upper = split(whole, layer, example)
        assert cuts[layer].client_flops == segment_flops(lower, (1, 16, 16)).forward
        assert cuts[layer].client_weights == sum(weight.numel() for weight in lower.parameters())
        assert cuts[layer].server_weights == sum(weight.numel() for weight in upper.parameters())
        assert cuts[layer].bytes == lower(example)[0].numel() * 4


def test_a_model_that_no_tracer_takes_has_figures_too() -> None:
    cuts = figures_of_cuts(Counting(), torch.randn(2, 4))
    assert [(cut.layer, cut.bytes, cut.client_weights) for cut in cuts] == [("first", 32, 40), ("second", 32, 112)]


@pytest.mark.parametrize("model", [Skip, Counting])
def test_what_leaks_is_told_of_all_that_crosses(model: type[nn.Module]) -> None:
    seen: list[int] = []

    def leak(inputs: Tensor, values: list[Tensor]) -> float:
        assert len(inputs) == 16
        seen.append(sum(value.shape[1] for value in values))
        return 0.5

    cuts = figures_of_cuts(model(), torch.randn(2, 4), torch.randn(16, 4), leak)
    assert [cut.leak for cut in cuts] == [0.5] * len(cuts)
    assert seen == [8, 16 if model is Skip else 8]


def test_a_step_s_time_by_hand() -> None:
    cut = CutFigures("a", (), 100.0, 1000.0, 1, 1)
    assert Link(1e6, 0.05, 1e3, 1e5).seconds(cut, 4) == pytest.approx(0.05 + 4 * 3 * (0.1 + 0.01))


@pytest.mark.parametrize(("share", "layer"), [(0.0, "0"), (0.3, "0"), (0.5, "1"), (0.9, "2"), (1.0, "2")])
def test_the_cut_nearest_to_a_share_is_found(share: float, layer: str) -> None:
    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(4)])
    assert nearest_cut(model, share, torch.randn(2, 8)) == layer


def test_integers_beside_a_tensor_are_no_reason_to_cut_elsewhere() -> None:
    row, mask = Crosses("h", (4, 8), "float32"), Crosses("mask", (4,), "int64", learned=False)
    cuts = [
        CutFigures("block", (row, mask), 50, 50, 1, 1),
        CutFigures("inside", (row, row), 40, 60, 1, 1),
        CutFigures("last", (row,), 90, 10, 1, 1),
    ]
    assert nearest(cuts, 0.4).layer == "block"
    assert nearest(cuts[1:2], 0.9).layer == "inside"


def test_a_share_is_read() -> None:
    assert (share_of("40%"), share_of("layer1"), share_of(3), share_of(None)) == (0.4, None, None, None)
    for wrong in ("x%", "-1%", "101%", "%", "nan%"):
        with pytest.raises(UsageError, match="no share"):
            share_of(wrong)


def test_times_are_read() -> None:
    assert (read_time("50ms", "rtt"), read_time("0.2s", "rtt"), read_time("0", "rtt")) == (0.05, 0.2, 0.0)
    with pytest.raises(UsageError, match="50ms"):
        read_time("50", "rtt")
