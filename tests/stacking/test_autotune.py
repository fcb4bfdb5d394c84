"""Stacked or looped, whichever is faster: measured without a trace, remembered, recorded in the run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sglr
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone
from sglr.core.optim import OptimizerSpec
from sglr.stacking.autotune import best_form, measure
from sglr.stacking.stack import Stack
from sglr.system.cache import cache_folder

SLOW = 0.15


class SlowWhenStacked(nn.Module):
    """A layer that rests once per call if clients are stacked, or if they are not."""

    def __init__(self, *, stacked: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros(()))
        self.stacked = stacked

    def extra_repr(self) -> str:
        return f"stacked={self.stacked}"

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.stacked == torch._C._functorch.is_batchedtensor(x):
            time.sleep(SLOW)
        return x * self.scale + torch.rand_like(x)


def make_stack(*, slow_when_stacked: bool, rows: int = 3) -> Stack:
    return Stack(
        lambda _: SlowWhenStacked(stacked=slow_when_stacked),
        rows,
        OptimizerSpec.parse("sgd"),
        clip_norm=None,
        stacked=True,
        device=torch.device("cpu"),
    )


def batch(stacked: bool) -> Tensor:
    del stacked
    return torch.ones(3, 2, 4)


@pytest.fixture(autouse=True)
def _tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLR_TUNING", "on")
    monkeypatch.setenv("SGLR_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.parametrize(("slow", "fast"), [(True, "looped"), (False, "stacked")])
def test_the_faster_form_is_chosen(slow: bool, fast: str) -> None:
    assert best_form(make_stack(slow_when_stacked=slow), batch) == fast


def test_a_measurement_leaves_no_trace() -> None:
    stack = make_stack(slow_when_stacked=True)
    before = {name: tensor.clone() for name, tensor in stack.state().items()}
    random = torch.get_rng_state()
    seconds = measure(stack, batch, ["stacked", "looped"])
    assert seconds["looped"] < SLOW <= seconds["stacked"]
    assert stack.form == "stacked"
    assert torch.equal(torch.get_rng_state(), random)
    for name, tensor in stack.state().items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in stack.parameters.values())


def test_a_choice_is_remembered_and_a_damaged_memory_measured_anew() -> None:
    stack = make_stack(slow_when_stacked=True)
    assert best_form(stack, batch) == "looped"
    (file,) = (cache_folder() / "stacking").iterdir()
    content = json.loads(file.read_text())
    content["found"]["form"] = "stacked"
    file.write_text(json.dumps(content))
    assert best_form(stack, batch) == "stacked"
    for damage in ("{", json.dumps({**content, "found": {"form": "upside down"}})):
        file.write_text(damage)
        assert best_form(stack, batch) == "looped"


def test_switched_off_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLR_TUNING", "off")
    assert best_form(make_stack(slow_when_stacked=True), batch) == "stacked"
    assert not cache_folder().exists()


SETTINGS: dict[str, Any] = {"clients": 3, "samples_per_client": 40, "epochs": 2, "model": "mlp"}


def _remembered(form: str) -> None:
    """Have this machine remember another choice for everything that it knows."""
    for file in (cache_folder() / "stacking").iterdir():
        content = json.loads(file.read_text())
        content["found"]["form"] = form
        file.write_text(json.dumps(content))


def test_two_equal_runs_are_equal_and_tell_what_was_chosen(tmp_path: Path) -> None:
    first, second = (sglr.train(out=tmp_path / name, **SETTINGS) for name in ("first", "second"))
    assert first.summary["choices"] == second.summary["choices"]
    assert first.summary["choices"]["stacking"] in ("stacked", "looped")
    assert first.summary["weights_sha256"] == second.summary["weights_sha256"]


@pytest.mark.parametrize("form", ["looped", pytest.param("stacked", marks=pytest.mark.slow)])
def test_a_resumed_run_goes_on_with_what_it_began_with(form: str, tmp_path: Path) -> None:
    sglr.train(out=tmp_path / "any", **SETTINGS)
    _remembered(form)
    whole = sglr.train(out=tmp_path / "whole", **SETTINGS)
    assert whole.summary["choices"] == {"stacking": form}
    stopped = tmp_path / "stopped"
    _stop_after(4, stopped)
    _remembered("looped" if form == "stacked" else "stacked")
    assert sglr.resume(stopped).summary["weights_sha256"] == whole.summary["weights_sha256"]


def test_a_run_whose_choice_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    _stop_after(4, tmp_path / "run")
    for damage in ("{", '{"stacking": "upside down"}'):
        (tmp_path / "run" / "choices.json").write_text(damage)
        with pytest.raises(UsageError, match=r"choices\.json.*damaged.*delete that file"):
            sglr.resume(tmp_path / "run")


@pytest.mark.parametrize("settings", [{"clients": 1}, {"stacking": "looped"}, {"stacking": "stacked"}])
def test_where_nothing_is_left_open_nothing_is_measured(settings: dict[str, Any], tmp_path: Path) -> None:
    sglr.train(out=tmp_path / "run", **{**SETTINGS, **settings})
    assert not cache_folder().exists()


def _stop_after(steps: int, path: Path) -> None:
    seen: list[StepDone] = []

    def observe(event: object) -> None:
        seen.extend(_steps([event]))

    with pytest.raises(Interrupted):
        sglr.train(out=path, observe=observe, stop=lambda: len(seen) >= steps, **SETTINGS)


def _steps(events: Iterable[object]) -> list[StepDone]:
    return [event for event in events if isinstance(event, StepDone)]
