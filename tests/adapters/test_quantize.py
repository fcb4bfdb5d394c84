"""Frozen layers in 8 and 4 bits: what is rounded, by how much, and that nothing else changes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.adapters.networks import SETTINGS, dataset, network
from torch import nn
from torch.func import vmap

import sglr
from sglr.adapters.rounded import BLOCK, NF4, ROUNDED, Int8Linear, NF4Linear
from sglr.core.errors import UsageError
from sglr.splitting.segment_weights import frozen_of

KINDS = ("int8", "nf4")


def train(out: Path, model: Any = network, **settings: Any) -> sglr.Run:
    return sglr.train(**{"method": "sfl", "model": model, "dataset": dataset(), "out": out, **SETTINGS, **settings})


def test_eight_bits_by_hand() -> None:
    layer = Int8Linear(torch.tensor([[1.0, -2.54, 0.0], [0.127, 0.0005, -0.0635]]), None)
    assert layer.codes.tolist() == [[50, -127, 0], [127, 0, -64]]  # 0.5 is rounded to even
    assert torch.allclose(layer.scales, torch.tensor([[0.02], [0.001]]))
    assert torch.allclose(layer.weight, torch.tensor([[1.0, -2.54, 0.0], [0.127, 0.0, -0.064]]))


def test_four_bits_by_hand() -> None:
    weight = torch.zeros(2, 40)
    weight[0, :4] = torch.tensor([2.0, -2.0, 0.16, 1.0])
    weight[1, 39] = 0.5  # value 80, in the second block
    layer = NF4Linear(weight, None)
    assert layer.codes.shape == (2, BLOCK // 2)
    assert layer.scales.flatten().tolist() == [2.0, 0.5]
    assert layer.codes[0, :2].tolist() == [15 * 16 + 0, 8 * 16 + 12]
    assert layer.weight[0, :4].tolist() == pytest.approx([2.0, -2.0, 2 * NF4[8], 2 * NF4[12]])
    assert layer.weight[1, 39] == 0.5
    assert not layer.weight[1, :39].any()


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_stays_within_half_a_step(kind: str) -> None:
    torch.manual_seed(0)
    weight = torch.randn(33, 20)
    found = ROUNDED[kind](weight, None).weight
    widest = 0.5 / 127 if kind == "int8" else max(b - a for a, b in pairwise(NF4)) / 2
    assert float((found - weight).abs().max()) <= widest * float(weight.abs().max()) + 1e-6
    assert torch.equal(ROUNDED[kind](torch.zeros(3, 5), None).weight, torch.zeros(3, 5))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_through_rows_and_loops_alike(kind: str) -> None:
    torch.manual_seed(0)
    layer = ROUNDED[kind](torch.randn(7, 5), torch.randn(7))
    x = torch.randn(3, 4, 5, requires_grad=True)
    wanted = x @ layer.weight.mT + layer.bias
    grads = [torch.autograd.grad(y.square().sum(), x)[0] for y in (wanted, layer(x), vmap(layer)(x))]
    assert torch.allclose(layer(x), wanted, atol=1e-5)
    assert all(torch.allclose(grads[0], grad, atol=1e-4) for grad in grads[1:])
    with torch.no_grad():
        assert torch.allclose(layer(x), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["stacked", pytest.param("looped", marks=pytest.mark.slow)])
def test_a_rounded_network_trains_and_is_resumed_and_exported(tmp_path: Path, kind: str, form: str) -> None:
    torch.manual_seed(0)
    model = network()
    run = train(tmp_path / "run", model, quantize=kind, stacking=form)
    loaded = sglr.load_model(run.path, model=model, dataset=dataset())
    frozen = {**frozen_of(loaded.client), **frozen_of(loaded.server)}
    codes = {name: tensor for name, tensor in frozen.items() if name.endswith(".codes")}
    assert len(codes) == 5
    assert not any(name.endswith("base_layer.weight") for name in frozen)
    assert run.summary["frozen_sha256"]
    plain = train(tmp_path / "plain", model)
    assert run.summary["test"]["loss"] == pytest.approx(plain.summary["test"]["loss"], rel=0.1)
    assert run.summary["parameters"]["client"] == plain.summary["parameters"]["client"]
    whole = (plain.path / "frozen.safetensors").stat().st_size
    assert (run.path / "frozen.safetensors").stat().st_size < whole
    done = sglr.export_adapters(run.path, model=model)
    assert done.largest_difference < 1e-5
    if form == "looped":
        onnx = sglr.export(run.path, tmp_path / "onnx", model=model, segment="joined")
        assert onnx.largest_difference < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_weights_take_an_eighth_to_a_quarter_of_the_memory(tmp_path: Path, kind: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 3))
    run = train(tmp_path / "run", model, quantize=kind, cut=4, epochs=1)
    loaded = sglr.load_model(run.path, model=model, dataset=dataset())
    held = sum(tensor.numel() * tensor.element_size() for tensor in frozen_of(loaded.client).values())
    weights, biases = 4 * (6 * 256 + 256 * 256), 4 * 2 * 256
    share = 1 / 4 + 1 / 256 if kind == "int8" else 1 / 8 + 1 / 64
    assert held == pytest.approx(share * weights + biases, rel=0.05)


def test_frozen_layers_of_one_s_own_are_rounded_and_trained_ones_are_not(tmp_path: Path) -> None:
    model = network()
    model[1].requires_grad_(False)
    run = train(tmp_path / "run", model, lora=None, quantize="int8")
    loaded = sglr.load_model(run.path, model=model, dataset=dataset())
    assert isinstance(loaded.client[1], Int8Linear)
    assert isinstance(loaded.client[2].query, nn.Linear)


def test_nothing_frozen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"quantize = int8: the model has no frozen linear layer.*give --lora"):
        train(tmp_path / "run", lora=None, quantize="int8")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="quantize = int4"):
        train(tmp_path / "run", quantize="int4")
