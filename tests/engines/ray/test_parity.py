"""Law 2: clients in blocks on a cluster end with the weights that they have in one process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from tests.some_methods import make_method
from tests.some_targets import Lower, clients_for, make_task, upper_for
from torch import Tensor

from sglr.core.method import Method
from sglr.core.registry import MERGE_RULES, METHODS
from sglr.core.trainer import Trainer
from sglr.data.stragglers import Pace
from sglr.methods.cse_fsl import CSEFSL

EQUAL, UNEQUAL = (8, 8, 8, 8, 8), (11, 7, 3, 3, 6)


def make(name: str) -> Method:
    return make_method(name)


def everything(trainer: Trainer) -> dict[str, Tensor]:
    """Weights and buffers of all clients, and the server's state."""
    clients = trainer.engine.collect(tuple(range(len(trainer.sizes))))
    server = {f"server.{name}": tensor for name, tensor in trainer.server.state().items()}
    return {**clients, **server, **{f"shared.{name}": tensor for name, tensor in trainer.shared.items()}}


def assert_alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor], atol: float = 1e-6) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-5, atol=atol, msg=lambda text, name=name: name + text)


def compare(
    case: Any, on_ray: Any, name: str | Method, *, atol: float = 1e-6, ray_server: str = "driver", **kwargs: Any
) -> None:
    kwargs = {"batch": 4, "optimizer": "sgd:momentum=0.9", "validate": True, **kwargs}
    method = make(name) if isinstance(name, str) else name
    here = case(method, **kwargs).build()
    there = on_ray(method, block_clients=3, ray_server=ray_server, **kwargs)
    here.run()
    there.run()
    assert_alike(everything(here), everything(there), atol)
    assert there.progress.best_score == pytest.approx(here.progress.best_score)
    for shared in (None, here.shared or None):
        scores = [each.engine.evaluate(each.server.segment, here.validation, (1, 4), shared) for each in (here, there)]
        assert_alike(scores[0].values, scores[1].values)
        torch.testing.assert_close(scores[0].loss, scores[1].loss)
        assert_alike(scores[0].sums, scores[1].sums)
    assert len(there.engine.digests()) == len(here.engine.digests())


DEFENCE = "nopeek:weight=0.5+clip:norm=1+noise:sigma=0.1+max-norm"
SINGLE = {"sizes": (9, 5, 1, 8, 13), "norm": True, "least_batch": 2, "atol": 2e-5}
TAIL = {"participation": 0.6, "tail": True, "label_prior": "own"}
PACE = Pace(np.full(5, 0.1), np.array([0.1, 0.35, 0.15, 0.9, 0.2]), 0.01)
CASES: dict[str, tuple[str | Method, dict[str, Any]]] = {
    "psl, int8": ("psl", {"compression": "int8"}),
    "slr, equal batches": ("slr", {"sizes": EQUAL}),
    "sgl, topk": ("sgl", {"compression": "topk:0.4,feedback=true"}),
    "sglr, absent clients": ("sglr", {"participation": 0.6, "norm": True, "atol": 2e-5}),
    "sglr, tail": ("sglr", TAIL),
    "sglr, defences": ("sglr", {"defence": DEFENCE, "atol": 1e-5}),
    "sglr, defences, server in the cluster": ("sglr", {"defence": DEFENCE, "ray_server": "cluster", "atol": 1e-5}),
    "sglr, gradients of steps before": ("sglr", {"ahead": 2, "delay_compensation": 0.5, "norm": True, "atol": 2e-5}),
    "splitgp, gradients of eight steps before": ("splitgp", {"ahead": 8, "sizes": (15, 9, 4, 12, 6), "atol": 2e-5}),
    "psl, late clients": ("psl", {"stragglers": "buffer:2", "pace": PACE}),
    "sfl, late clients": ("sfl", {"stragglers": "quorum:3", "pace": PACE}),
    "sfl, single samples": ("sfl", SINGLE),
    "sflv1, merge rule, server in the cluster": (
        "sflv1",
        {"rule": MERGE_RULES.load("norm-bound")(), "ray_server": "cluster"},
    ),
    "sflv1, tail": ("sflv1", TAIL),
    "sflv2": ("sflv2", {}),
    "cyclesl, server in the cluster": ("cyclesl", {"ray_server": "cluster", "label_prior": "pooled"}),
    "scala, server in the cluster": ("scala", {"ray_server": "cluster", "label_prior": "pooled"}),
    "sglr2, absent clients": ("sglr2", {"participation": 0.6, "label_prior": "pooled"}),
    "minibatch-sfl": ("minibatch-sfl", {}),
    "gpsl": ("gpsl", {}),
    "mergesfl": ("mergesfl", {"batching": "regulated"}),
    "gas, batching clock, absent clients": (
        "gas",
        {"batching": "clock", "participation": 0.8, "label_prior": "own", "atol": 1e-4},
    ),
    "gas, server in the cluster": ("gas", {"ray_server": "cluster", "label_prior": "own", "atol": 1e-4}),
    "mix2sfl, pooled prior, server in the cluster": ("mix2sfl", {"ray_server": "cluster", "label_prior": "pooled"}),
    "locfedmix-sl, server in the cluster": (
        "locfedmix-sl",
        {"ray_server": "cluster", "defence": DEFENCE, "atol": 1e-5},
    ),
    "epsl, server in the cluster": ("epsl", {"ray_server": "cluster", "norm": True, "defence": DEFENCE, "atol": 2e-5}),
    "cse-fsl": ("cse-fsl", {"participation": 0.6, "norm": True, "label_prior": "own", "atol": 2e-5}),
    "cse-fsl, server in the cluster": ("cse-fsl", {"ray_server": "cluster"}),
    "cse-fsl, every second batch": (CSEFSL(h=2), {"participation": 0.8}),
    "fsl-sage": ("fsl-sage", {"participation": 0.6, "label_prior": "own"}),
    "fsl-sage, server in the cluster": ("fsl-sage", {"ray_server": "cluster", "atol": 1e-5}),
    "splitgp, absent clients": ("splitgp", {"participation": 0.6, "norm": True, "label_prior": "own", "atol": 2e-5}),
    "splitgp, server in the cluster": ("splitgp", {"ray_server": "cluster"}),
    "ssl": ("ssl", {}),
    "sglr, batching global, absent clients": ("sglr", {"batching": "global:9", "participation": 0.8}),
    "sfl, batching proportional, single samples": ("sfl", {**SINGLE, "batching": "proportional:14"}),
    "psl, batching global, server in the cluster": ("psl", {"batching": "global", "ray_server": "cluster"}),
    "fl": ("fl", {}),
    "fl, single samples, server in the cluster": ("fl", {**SINGLE, "ray_server": "cluster"}),
}
"""Every method, and every way to train, with one method at least.

A case takes seconds, most of them for processes that import torch. A block of clients is the code that the engine
``local`` runs, for which all combinations are tested; what is new here is that its calls come from another process, and
that several blocks are put together. No method and no setting changes either for another one.
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_blocks_in_other_processes_are_those_here(case, on_ray, name: str) -> None:
    method, options = CASES[name]
    compare(case, on_ray, method, **{"sizes": UNEQUAL, **options})


def test_every_method_is_among_them() -> None:
    assert {method for method, _ in CASES.values() if isinstance(method, str)} == {
        n for n in METHODS.names() if not METHODS.load(n).pooled
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS.names() if METHODS.load(name).pooled])
def test_pooled_data(case, on_ray, name: str) -> None:
    here, there = case(make(name)).build(), on_ray(make(name))
    here.run()
    there.run()
    assert_alike(everything(here), everything(there))


@pytest.mark.slow
def test_average_by_class_with_label_priors_and_clipping(case, on_ray) -> None:
    method = METHODS.load("sglr")(average="class", phi=0.8)
    kwargs = {"sizes": UNEQUAL, "batch": 4, "label_prior": "own", "clip_norm": 0.1, "optimizer": "adam"}
    here, there = case(method, **kwargs).build(), on_ray(method, block_clients=3, **kwargs)
    here.run()
    there.run()
    assert_alike(everything(here), everything(there), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ray_server"), [("segmentation", "cluster"), ("regression", "driver")])
def test_targets_of_any_shape_and_type(case, on_ray, name: str, ray_server: str) -> None:
    task = make_task(name)
    data = clients_for(task, UNEQUAL)
    made = {"task": task, "data": data, "lower": Lower(data), "upper": upper_for(task, data)}
    compare(case, on_ray, "sglr", sizes=UNEQUAL, ray_server=ray_server, **made)


def ended(trainer: Trainer) -> dict[str, Tensor]:
    """Train, and end the processes, which another training may need the processors of."""
    trainer.run()
    found = everything(trainer)
    trainer.engine.close(done=True)
    return found


@pytest.mark.slow
def test_layers_that_draw_are_repeated_bit_for_bit_wherever_the_server_is(on_ray) -> None:
    kwargs = {"sizes": EQUAL, "dropout": 0.5, "block_clients": 3, "label_prior": "own"}
    first, second = (ended(on_ray(make("sglr"), **kwargs)) for _ in range(2))
    assert_alike(first, second, atol=0.0)
    there = ended(on_ray(make("sglr"), ray_server="cluster", **kwargs))
    assert_alike(first, there, atol=0.0)
