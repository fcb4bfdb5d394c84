"""What a client with adapters holds and sends, in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.adapters.networks import CLASSES, INPUTS, SETTINGS, WIDTH, dataset, network, normed

import sglr
from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides
from sglr.runs.config import Experiment

FLOAT = 4


def of_adapters(r: int, *sizes: tuple[int, int]) -> int:
    """Return r (n + m), summed over layers of n inputs and m outputs."""
    return sum(r * (inputs + outputs) for inputs, outputs in sizes)


SQUARE = (WIDTH, WIDTH)
CLIENT = ((INPUTS, WIDTH), SQUARE, SQUARE)
"""The layers of the first party: a linear one, and a mixer's query and value."""


@pytest.mark.parametrize("r", [1, 3])
def test_a_merge_sends_the_adapters(tmp_path: Path, r: int) -> None:
    sent = {}
    for method in ("sfl", "psl"):
        settings: dict[str, Any] = {**SETTINGS, "lora": f"r={r}", "out": tmp_path / method}
        sent[method] = sglr.train(method, model=normed, dataset=dataset(), **settings | {"cut": 4}).summary
    up, down = (
        sent["sfl"]["communication"][way] - sent["psl"]["communication"][way] for way in ("up_bytes", "down_bytes")
    )
    wanted = SETTINGS["clients"] * SETTINGS["epochs"] * FLOAT * of_adapters(r, *CLIENT)
    assert up == wanted
    assert down == pytest.approx(wanted, rel=0.05)


def test_whole_models_send_adapters_and_the_new_layer(tmp_path: Path) -> None:
    run = sglr.train("fl", model=network, dataset=dataset(), out=tmp_path / "run", **SETTINGS | {"cut": None})
    each = of_adapters(2, *CLIENT, SQUARE, SQUARE) + WIDTH * CLASSES + CLASSES
    assert run.summary["communication"]["up_bytes"] == SETTINGS["clients"] * SETTINGS["epochs"] * FLOAT * each


@pytest.mark.parametrize("model", [network, normed])
def test_a_client_is_adapters_and_their_optimizer_in_memory(model: Any) -> None:
    flat = {**SETTINGS, "method": "psl", "model": "<network>", "dataset": "<drawn>", "optimizer": "adam"}
    given = PartOverrides(model=model, dataset=dataset())
    trainer = build(Experiment.from_flat(flat | {"cut": 4 if model is normed else 3}), given).trainer
    trainer.run()
    stack = trainer.engine.block.stack
    held = sum(tensor.numel() * tensor.element_size() for tensor in stack.state().values()) / SETTINGS["clients"]
    numbers = of_adapters(2, *CLIENT)
    # Weights, Adam's two means, and a count of steps for each tensor.
    assert held == pytest.approx(FLOAT * (3 * numbers + 2 * len(CLIENT)), rel=0.05)
    assert not stack.buffers
    assert sum(weight.numel() for weight in stack.frozen.values()) >= INPUTS * WIDTH + 2 * WIDTH * WIDTH


def test_an_optimizer_in_one_call_meets_no_frozen_integers(tmp_path: Path) -> None:
    """The fused step of Adam fails on 8-bit weights, which a frozen network may have."""

    class Rounded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.codes = torch.nn.Parameter(
                torch.randint(-127, 127, (WIDTH, INPUTS), dtype=torch.int8), requires_grad=False
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, self.codes.float() / 300)

    model = torch.nn.Sequential(Rounded(), *network()[2:])
    run = sglr.train("sfl", model=model, dataset=dataset(), out=tmp_path / "run", **SETTINGS | {"cut": 2})
    assert run.summary["parameters"]["client"] == of_adapters(2, SQUARE, SQUARE)
