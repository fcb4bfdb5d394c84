"""Law 2 over real sockets and TLS: where clients live makes no difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.some_methods import FITTING, WITH_TAIL
from tests.some_targets import make_task, targets_of

from sglr.core.registry import METHODS, TASKS
from sglr.core.task import Task
from sglr.storage.checkpoint import read_checkpoint

from .federation import Federation, local_twin


def final_state(run: Any) -> dict[str, torch.Tensor]:
    return read_checkpoint(run.checkpoints[-1])[0]


QUICK: list[dict[str, Any]] = [
    {"method": "sglr", "average": "class", "label_prior": "own", "partition": "shards"},
    {"method": "sfl", "compression": "topk:0.3,feedback=true", "augment": "horizontal-flip+random-crop:padding=1"},
    {"method": "fl", "label_prior": "own", "partition": "shards", "clip_norm": 0.5, "augment": "random-erasing"},
    {"method": "sglr", "batching": "global:9", "partition": "dirichlet", "samples_per_client": 40, "clip_norm": 0.5},
    {"method": "sglr", "tail": "pool2", "model": "cnn", "partition": "dirichlet", "samples_per_client": 40}
    | {"participation": 0.7, "label_prior": "own", "compression": "int8", "augment": "rotation:20"},
    {"method": "sglr", "compression": "topk:1.0", "model": "cnn", "cut": "relu1", "test_samples": 300, "epochs": 1},
    {"method": "sflv1", "lora": "r=4", "compression": "int8", "partition": "dirichlet", "samples_per_client": 40},
]
"""Methods that differ in what crosses the network, and labels that do not; the other cases are slow tests."""

CASES: list[dict[str, Any]] = [
    *({"method": name, **FITTING.get(name, {})} for name in METHODS.names()),
    {"method": "fsl-sage", "h": 2, "align_every": 1, "align_epochs": 5, "memory": 15, "partition": "dirichlet"}
    | {"samples_per_client": 40, "participation": 0.7, "epochs": 4, "label_prior": "own", "head": "mlp:width=8"},
    {"method": "locfedmix-sl", "partition": "dirichlet", "samples_per_client": 40, "model": "cnn"}
    | {"compression": "int8:feedback=true", "defence": "clip:norm=5+noise:sigma=0.2+max-norm", "participation": 0.7},
    {"method": "cse-fsl", "h": 2, "partition": "dirichlet", "samples_per_client": 40, "participation": 0.7},
    {"method": "cse-fsl", "h": 2, "head": "mlp:width=8", "label_prior": "own", "compression": "int8:feedback=true"},
    {"method": "splitgp", "gamma": 0.3, "lam": 0.6, "partition": "dirichlet", "samples_per_client": 40}
    | {"participation": 0.7, "label_prior": "own", "compression": "int8:feedback=true", "epochs": 4},
    {"method": "splitgp", "head": "mlp:width=8", "model": "cnn", "batching": "global:9"}
    | {"defence": "clip:norm=5+noise:sigma=0.2+max-norm"},
    {"method": "sglr", "partition": "dirichlet", "samples_per_client": 40, "participation": 0.7, "model": "cnn"},
    {"method": "psl", "short_clients": "cycle", "partition": "dirichlet", "samples_per_client": 30},
    *(
        {"method": name, "batching": rule, "partition": "dirichlet", "samples_per_client": 40, "participation": 0.7}
        for name in ("psl", "sfl", "ssl", "sflv1")
        for rule in ("global", "proportional:20")
    ),
    {"method": "gas", "partition": "dirichlet", "samples_per_client": 40, "participation": 0.7},
    {"method": "sglr", "batching": "clock", "samples_per_client": 40, "participation": 0.7},
    {"method": "sglr", "batching": "global:20", "tail": "relu2", "compression": "topk:0.3,feedback=true"}
    | {"augment": "horizontal-flip+random-crop:padding=1", "defence": "clip:norm=5+noise:sigma=0.2"},
    {"method": "sglr", "batching": "proportional", "model": "resnet16", "partition": "dirichlet"}
    | {"samples_per_client": 17},
    {"method": "sglr", "partition": "dirichlet", "concentration": 0.3, "batch_size": 32, "samples_per_client": 40},
    {"method": "sglr", "model": "resnet16", "samples_per_client": 17},
    {"method": "fl", "model": "resnet16", "samples_per_client": 17, "optimizer": "sgd", "epochs": 1},
    {"method": "sglr", "compression": "int8:feedback=true", "phi": 1.0},
    {"method": "sglr", "compression": "up=int4:feedback=true,down=int8", "phi": 1.0, "model": "cnn"},
    {"method": "psl", "compression": "up=int2,down=int4", "model": "cnn", "tail": "pool2"},
    {"method": "sfl", "average_every": 2},
    {
        "method": "sfl",
        "weight_compression": "int8",
        "participation": 0.7,
        "model": "resnet16",
        "samples_per_client": 17,
    },
    {"method": "fl", "weight_compression": "fp16", "merge_rule": "norm-bound"},
    {"method": "sflv1", "weight_compression": "int4", "compression": "int8"},
    {"method": "ssl", "weight_compression": "topk:0.3"},
    {"method": "fl", "weight_compression": "topk:1.0", "model": "cnn", "epochs": 1},
    {"method": "sfl", "merge_rule": "trimmed-mean", "trimmed_share": 0.34, "partition": "dirichlet"},
    {"method": "fl", "merge_rule": "norm-bound"},
    {"method": "sglr", "accumulate": 2, "warmup": 1.5, "partition": "dirichlet", "samples_per_client": 40},
    {"method": "fl", "accumulate": 3, "warmup": 0.7, "partition": "dirichlet", "samples_per_client": 40},
    {"method": "sglr", "defence": "nopeek:weight=0.5+clip:norm=5+noise:sigma=0.2+max-norm"},
    *({"method": name, "tail": "relu2"} for name in WITH_TAIL),
    {"method": "sglr", "lora": "r=4,at=clients", "model": "cnn"},
    {"method": "sfl", "lora": "r=4", "model": "resnet16", "samples_per_client": 17},
    {"method": "psl", "lora": "r=4", "tail": "relu2"},
    {"method": "sfl", "freeze": "conv1", "model": "cnn", "cut": "pool2"},
    {"method": "fl", "lora": "r=4,alpha=8,targets=fc1+fc2", "quantize": "nf4"},
]

BY_CLASS = ("majority_share", "balanced_accuracy", "macro_f1", "per_class", "confusion")
"""Figures of the test that would tell the server how many samples of each class a client has."""


def as_test(case: dict[str, Any]) -> Any:
    """Return a case with its name."""
    marks = [] if case in QUICK else [pytest.mark.slow]
    return pytest.param(case, id="-".join(str(value) for value in case.values()), marks=marks)


@pytest.mark.parametrize("settings", [as_test(case) for case in QUICK + CASES])
def test_remote_equals_local(settings: dict[str, Any], tmp_path: Path) -> None:
    federation = Federation(tmp_path, settings)
    remote = federation.train()
    assert not federation.problems
    local = local_twin(settings, tmp_path / "local")
    ours, theirs = final_state(remote), final_state(local)
    whole = METHODS.load(settings["method"]).whole_model
    # Clients that hold the whole model count their labels themselves, and the server has no part in their passes.
    server = [
        name
        for name in theirs
        if name.startswith(("server.", "shared.")) and not (whole and name in ("server.label_counts", "server.work"))
    ]
    assert server
    for name in server:
        torch.testing.assert_close(
            ours[name], theirs[name], rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    for key in ("accuracy", "loss"):
        assert remote.summary["test"][key] == pytest.approx(local.summary["test"][key], abs=1e-4)
    for key in BY_CLASS:
        ours, theirs = remote.summary["test"][key], local.summary["test"][key]
        assert ours is None if "tail" in settings else ours == theirs, key
    sent, meant = remote.summary["communication"], local.summary["communication"]
    if whole:  # a pass that clients take alone is one step to the ledger
        assert (sent["up_bytes"], sent["down_bytes"]) == (meant["up_bytes"], meant["down_bytes"])
    else:
        assert sent == meant
    assert remote.summary["validation"] == pytest.approx(local.summary["validation"], abs=1e-4)
    # Where the server learns from the same numbers in the same order, not a bit differs: but a client's tail, or head,
    # sums over its own batch alone or as a row beside others.
    exact = not (whole or METHODS.load(settings["method"]).head) and "tail" not in settings
    assert not exact or remote.summary["weights_sha256"] == local.summary["weights_sha256"]


def of_task(name: str, tail: bool) -> dict[str, Any]:
    """Return settings of a run that learns a task."""
    targets = targets_of(make_task(name))
    model, layer = "mlp", "relu2"
    if len(targets.shape) > 1:
        model, layer = "fcn", "relu4"
    elif targets.shape and targets.classes > 2:
        model, layer = "transformer", "norm"
    own = {"task": name, "dataset": "made-up", "of": name, "model": model, "label_prior": "ignore"}
    return own | ({"tail": layer} if tail else {})


def learned(key: str, weights: torch.Tensor) -> torch.Tensor:
    """Leave out the bias of attention's keys, (1, 3 * width): its gradient is zero, of which Adam moves by rounding.

    A bias of the keys adds the same number to all of a query's scores, and softmax(x + c) = softmax(x).
    """
    if not key.endswith("attend.bias"):
        return weights
    queries, _, values = weights.chunk(3, dim=-1)
    return torch.cat([queries, values], dim=-1)


def rounding(key: str) -> float:
    """Return how far weights may be apart: Adam enlarges what rounding does to the small gradients of a transformer.

    A change of the smashed data by one part in ten million moves those of attention by up to 6e-5 in these few steps,
    the others of its blocks by up to 8e-6.
    """
    return 5e-4 if ".attend." in key else 5e-5 if ".block" in key else 1e-5


TASKS_BESIDE = [name for name in TASKS.names() if name != "classification"]


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        pytest.param(name, tail, marks=[] if (name, tail) == ("regression", True) else [pytest.mark.slow])
        for name in TASKS_BESIDE
        for tail in (False, True)
    ],
)
@pytest.mark.usefixtures("made_up")
def test_any_task_trains_between_sites_as_it_does_here(name: str, tail: bool, tmp_path: Path) -> None:
    settings = of_task(name, tail)
    federation = Federation(tmp_path, settings)
    remote = federation.train()
    assert not federation.problems
    local = local_twin(settings, tmp_path / "local")
    ours, theirs = final_state(remote), final_state(local)
    for key in theirs:
        if key.startswith("server."):
            torch.testing.assert_close(
                learned(key, ours[key]), learned(key, theirs[key]), rtol=1e-4, atol=rounding(key), equal_nan=True
            )
    assert remote.summary["communication"] == local.summary["communication"]
    ours, theirs = remote.summary["test"], local.summary["test"]
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
    # With a tail, every client chooses its threshold on its own validation samples.
    own = tail and type(make_task(name)).calibrated is not Task.calibrated
    for score, its in theirs["scores"].items() if not own else [(theirs["headline"], theirs["scores"]["auroc"])]:
        assert ours["scores"][score]["mean"] == pytest.approx(its["mean"], rel=1e-3, abs=1e-3, nan_ok=True), score
