"""Users' stories in Python: parts given as objects, starting weights, and settings that do not fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.some_methods import FITTING
from torch import Tensor, nn

import sglr
from sglr.assembly.build import build
from sglr.assembly.parts import PartOverrides
from sglr.core.errors import UsageError
from sglr.core.registry import METHODS
from sglr.core.types import StepContext, Uplink
from sglr.engines.local import Local
from sglr.engines.remote.segment_hash import shape_at_cut
from sglr.experiment.describe import describe
from sglr.runs.config import Experiment
from sglr.stacking.precision import Precision

TINY: dict[str, Any] = {"clients": 3, "samples_per_client": 24, "epochs": 1, "model": "mlp"}


def _network(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    width = torch.Size(input_shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, classes))


def _normalised(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    width = torch.Size(input_shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 8), nn.BatchNorm1d(8), nn.Linear(8, classes))


class _Scaled(nn.Module):
    """A layer with a weight, and no way to draw it anew."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


def _lower_weights(experiment: Experiment, given: PartOverrides | None = None) -> dict[str, Tensor]:
    built = build(experiment, given)
    return dict(built.trainer.engine.collect(tuple(range(experiment.clients))))


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_clients_start_from_weights_of_their_own_or_the_same(model: str) -> None:
    settings = {**TINY, "method": "psl", "model": model}
    own = _lower_weights(Experiment.from_flat({**settings, "init": "independent"}))
    same = _lower_weights(Experiment.from_flat(settings))
    for name in own:
        assert not torch.equal(own[name][0], own[name][1])
        assert torch.equal(same[name][0], same[name][1])
        assert torch.equal(same[name][0], own[name][0])


def test_methods_that_share_weights_start_alike_whatever_init_says() -> None:
    for name in METHODS.names():
        if METHODS.load(name).shares:
            weights = _lower_weights(Experiment.from_flat({**TINY, "method": name, **FITTING.get(name, {})}))
            assert all(torch.equal(tensor[0], tensor[-1]) for tensor in weights.values()), name


def test_every_method_has_the_same_first_weights() -> None:
    """Comparisons are fair: lower 0 and upper are the same model whatever the method."""
    values = {}
    for name in METHODS.names():
        built = build(Experiment.from_flat({**TINY, "method": name, **FITTING.get(name, {})}))
        lower = [own[0] for key, own in built.trainer.engine.collect((0,)).items() if not key.startswith("head.")]
        upper = list(built.trainer.server.segment.state_dict().values())
        values[name] = torch.cat([tensor.flatten() for tensor in [*lower, *upper]])
    assert all(torch.equal(value, values["psl"]) for value in values.values())


def test_the_weights_of_a_given_module_are_everyones() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), _Scaled(), nn.Linear(8, 10))
    experiment, given = describe("psl", **{**TINY, "model": module, "cut": 3})
    weights = _lower_weights(experiment, given)
    assert torch.equal(weights["1.weight"], module[1].weight.expand(3, -1, -1))
    assert weights["2.scale"].tolist() == [[3.0]] * 3


@pytest.mark.parametrize("method", ["psl", "sfl"])
def test_a_given_module_cannot_start_independently(method: str) -> None:
    module = _network((1, 8, 8), 10)
    with pytest.raises(UsageError, match=r"init = independent: .* one set of weights.*or give a function"):
        describe(method, **{**TINY, "model": module, "cut": 3, "init": "independent"})


def test_own_function_own_data_own_method(tmp_path: Path) -> None:
    inputs = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    samples = sglr.Samples(inputs, (inputs[:, 0] > 0).long())
    data = sglr.Dataset("signs", samples, samples, ("negative", "positive"))

    @dataclass(frozen=True)
    class Mean(sglr.Method):
        """Everyone back-propagates the mean gradient."""

        def exchange(self, server: sglr.Server, uplink: Uplink, context: StepContext) -> sglr.Downlink:
            gradients = server.learn(uplink, context, context.server_rate)
            return sglr.Downlink(gradients.mean(0, keepdim=True).expand_as(gradients))

    settings: dict[str, Any] = {"cut": 3, "clients": 4, "lr": 0.02}
    run = sglr.train(Mean(), model=_network, dataset=data, epochs=8, out=tmp_path / "run", **settings)
    assert run.summary["test"]["accuracy"] > 0.85
    assert run.summary["method"] == {"name": "<Mean>"}
    assert run.settings["model"] == "<_network>"
    (run.path / "summary.json").unlink()
    with pytest.raises(UsageError, match=r"method = <Mean>: was given as a Python object"):
        sglr.resume(run.path)
    again = sglr.resume(run.path, method=Mean(), model=_network, dataset=data)
    assert again.summary["weights_sha256"] == run.summary["weights_sha256"]


def test_a_method_object_is_described_by_its_name_and_parameters(tmp_path: Path) -> None:
    by_object = sglr.train(sglr.SGLR(alpha=1.0, phi=0.5, average="class"), out=tmp_path / "a", **TINY)
    by_name = sglr.train("sglr", alpha=1, phi=0.5, average="class", out=tmp_path / "b", **TINY)
    assert by_object.summary["method"] == by_name.summary["method"]
    assert by_object.summary["weights_sha256"] == by_name.summary["weights_sha256"]


@pytest.mark.parametrize(
    "method",
    [
        name if name in ("cl", "fl", "psl", "sglr") else pytest.param(name, marks=pytest.mark.slow)
        for name in METHODS.names()
    ],
)
def test_the_choices_for_non_iid_data_work_with_every_method(method: str, tmp_path: Path) -> None:
    settings = {**TINY, "samples_per_client": 60, "clients": 6, "partition": "dirichlet", "concentration": 0.3}
    settings |= FITTING.get(method, {})
    plain = sglr.train(method, out=tmp_path / "plain", batch_size=2, label_prior="ignore", **settings)
    corrected = sglr.train(method, out=tmp_path / "corrected", batch_size=2, label_prior="own", **settings)
    assert corrected.summary["weights_sha256"] != plain.summary["weights_sha256"]


@pytest.mark.parametrize(
    "method",
    [name if name in ("sglr", "fl") else pytest.param(name, marks=pytest.mark.slow) for name in METHODS.names()],
)
def test_clients_with_fewer_samples_than_the_batch_step_with_what_they_have(method: str, tmp_path: Path) -> None:
    division = {
        "clients": 20,
        "partition": "dirichlet",
        "concentration": 0.1,
        "batch_size": 32,
        "samples_per_client": 60,
    }
    division |= FITTING.get(method, {})
    built = build(Experiment.from_flat({"method": method, "model": "mlp", **division}))
    owned = sum(built.data.sizes)
    if method != "cl":
        assert min(built.data.sizes) < 32 < max(built.data.sizes)
    run = sglr.train(method, model="mlp", epochs=2, out=tmp_path / "run", **division)
    assert run.summary is not None
    assert [row["samples"] for row in run.history] == [owned, 2 * owned]
    if not METHODS.load(method).whole_model:
        each = 4 * torch.Size(shape_at_cut(built.lower(0), (1, 8, 8))).numel()
        assert run.summary["communication"]["by_kind"]["up"]["smashed"] == 2 * owned * each


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"batch_size": 1, "model": _normalised, "cut": 3},
            r"batch_size = 1: the client's segment can't .*; give 2 or",
        ),
        (
            {"batch_size": 1, "model": _normalised, "cut": 2},
            r"batch_size = 1: the server's segment can't .*; give 2 or",
        ),
        ({"samples_per_client": 1, "model": _normalised, "cut": 2}, r"clients = 3: each has a single sample"),
        ({"device": "tpu"}, r"device = tpu: is not supported; give auto, cpu or cuda"),
        ({"model": _network}, r"cut = none: this model has no default cut; give --cut with one of: 0, 1, 2"),
        ({"model": _network, "cut": "9"}, r"cut = 9"),
        ({"optimizer": "adm"}, r"optimizer = adm: .*did you mean 'adam'"),
        ({"phi": 1.5}, r"phi = 1.5: is outside \[0, 1\]"),
        ({"alpha": -1}, r"alpha = -1.0: is not a number ≥ 0"),
        ({"method": "sglr", "average": "clas"}, r"average = clas: .*did you mean 'class'"),
        ({"clients": 10_000}, r"clients = 10000: there are \d+ samples"),
        ({"lr": 0}, r"lr = 0: input should be greater than 0"),
        ({"epochs": 1.5}, r"epochs = 1.5"),
        ({"method": "psl", "phi": 0.5}, r"phi = 0.5: method psl has no such parameter; .*sgl"),
    ],
)
def test_bad_settings_are_named_before_anything_is_written(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        sglr.train(out=tmp_path / "run", **{**TINY, **settings})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said_so() -> None:
    with pytest.raises(UsageError, match="device = cuda: torch finds no CUDA device"):
        build(Experiment.from_flat({**TINY, "device": "cuda"}))


@pytest.mark.parametrize("name", [name for name in METHODS.names() if METHODS.load(name).whole_model])
def test_where_clients_hold_the_whole_model_there_is_nothing_to_compress(name: str, tmp_path: Path) -> None:
    plain, compressed = (
        sglr.train(name, compression=code, out=tmp_path / code[:4], **TINY) for code in ("none", "topk:0.1")
    )
    for key in ("weights_sha256", "communication", "test"):
        assert plain.summary[key] == compressed.summary[key], key


@pytest.mark.parametrize("method", ["psl", "fl"])
def test_a_compression_that_is_not_known_is_refused_before_any_work(method: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="compression = zip: no such compression"):
        sglr.train(method, compression="zip", out=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()


def test_compression_sends_fewer_bytes_and_learns_other_weights(tmp_path: Path) -> None:
    plain, compressed = (
        sglr.train("sglr", compression=code, out=tmp_path / code, **TINY).summary for code in ("none", "bf16")
    )
    assert plain["weights_sha256"] != compressed["weights_sha256"]
    for kind in ("smashed", "labels"):
        halves = 2 if kind == "smashed" else 1
        before, after = (one["communication"]["by_kind"]["up"][kind] for one in (plain, compressed))
        assert before == halves * after
    for view in ("paper", "broadcast", "point_to_point"):
        before, after = (one["communication"]["views"][view]["total_bytes"] for one in (plain, compressed))
        assert 0.5 <= after / before < 0.6


def test_tf32_needs_a_gpu() -> None:
    with pytest.raises(UsageError, match=r"precision.*CUDA"):
        build(Experiment.from_flat({"precision": "tf32", "device": "cpu"}))


def test_clients_and_server_compute_in_the_precision_that_is_set() -> None:
    built = build(Experiment.from_flat({"precision": "bf16", "clients": 3, "device": "cpu"}))
    engine = built.trainer.engine
    assert isinstance(engine, Local)
    for stack in (engine.block.stack, built.trainer.server.stack):
        assert stack.runner.precision == Precision("bf16")
