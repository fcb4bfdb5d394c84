"""How the difference between a file and its original is told."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sglr.exporting.check import ExportDiffers, compare, difference, made_up_inputs
from sglr.exporting.pieces import Piece
from sglr.runs.data_record import DataRecord


def test_a_difference_is_a_share_of_large_values_and_plain_for_small_ones() -> None:
    assert difference(torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.0])) == pytest.approx(0.25)
    assert difference(torch.tensor([100.0, 1.0]), torch.tensor([100.0, 2.0])) == pytest.approx(0.01)
    assert difference(torch.tensor([math.nan, math.inf]), torch.tensor([math.nan, math.inf])) == 0


@pytest.mark.parametrize("found", [[math.nan, 1.0], [math.inf, 1.0], [1.0], [[1.0, 1.0]]])
def test_what_is_no_number_or_of_another_shape_differs_infinitely(found: list[float]) -> None:
    assert difference(torch.tensor(found), torch.ones(2)) == math.inf


@pytest.mark.parametrize("number", [1, 2, 8, 16, 23])
def test_every_sample_is_compared_in_batches_of_several_sizes(number: int) -> None:
    inputs, seen = torch.arange(float(number))[:, None], []
    piece = Piece("joined", "joined", None, nn.Identity(), nn.Identity(), inputs, "data", "answers")

    def runs(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch)
        return batch + (0.5 if number == 23 and 22.0 in batch else 0.0)

    if number == 23:
        with pytest.raises(ExportDiffers, match=r"joined.onnx: .* differ .* 0.0001 is accepted"):
            compare(piece, runs, "joined.onnx")
    else:
        assert compare(piece, runs, "joined.onnx").difference == 0
    assert torch.equal(torch.cat(seen), inputs)
    assert [len(batch) for batch in seen[:2]] == [1, 2][: len(seen)] or number < 3


@pytest.mark.parametrize(("dtype", "tokens"), [("float32", 0), ("float16", 0), ("int64", 5), ("uint8", 0)])
def test_made_up_inputs_are_what_a_client_reads(dtype: str, tokens: int) -> None:
    record = DataRecord(input_shape=(3, 4), dtype=dtype, classes=("a", "b"), clients=1, cut="x")
    inputs = made_up_inputs(record, nn.Embedding(tokens, 2) if tokens else nn.Identity())
    assert inputs.shape[1:] == (3, 4)
    assert str(inputs.dtype) == f"torch.{dtype}"
    if not inputs.is_floating_point():
        assert set(inputs.flatten().tolist()) == set(range(tokens or 2))
