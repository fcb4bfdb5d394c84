"""Law 2: clients in blocks on a cluster end with the weights that they have in one process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from sglr.core.method import Method
from sglr.core.registry import MERGE_RULES, METHODS
from sglr.core.trainer import Trainer

EQUAL, UNEQUAL = (8, 8, 8, 8, 8), (11, 7, 3, 3, 6)


def make(name: str) -> Method:
    method: Method = METHODS.load(name)()
    return method


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
    case: Any, on_ray: Any, name: str, *, atol: float = 1e-6, ray_server: str = "driver", **kwargs: Any
) -> None:
    kwargs = {"batch": 4, "optimizer": "sgd:momentum=0.9", "validate": True, **kwargs}
    here = case(make(name), **kwargs).build()
    there = on_ray(make(name), block_clients=3, ray_server=ray_server, **kwargs)
    here.run()
    there.run()
    assert_alike(everything(here), everything(there), atol)
    assert there.progress.best_accuracy == pytest.approx(here.progress.best_accuracy)
    for shared in (None, here.shared or None):
        scores = [each.engine.evaluate(each.server.segment, here.validation, (1, 4), shared) for each in (here, there)]
        torch.testing.assert_close(scores[0].accuracy, scores[1].accuracy)
        torch.testing.assert_close(scores[0].loss, scores[1].loss)
        assert_alike(scores[0].counts.tensors(), scores[1].counts.tensors())
    assert len(there.engine.digests()) == len(here.engine.digests())


@pytest.mark.slow
def test_sglr_with_unequal_batches_and_clients_absent(case, on_ray) -> None:
    compare(case, on_ray, "sglr", sizes=UNEQUAL, participation=0.6, norm=True, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS.names() if not METHODS.load(name).pooled])
def test_every_method(case, on_ray, name: str) -> None:
    compare(case, on_ray, name, sizes=UNEQUAL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sglr", "sflv1"])
def test_labels_that_stay_with_the_clients(case, on_ray, name: str) -> None:
    compare(case, on_ray, name, sizes=UNEQUAL, participation=0.6, tail=True, label_prior="correct")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sglr", "sfl", "fl"])
def test_single_samples_and_batch_statistics(case, on_ray, name: str) -> None:
    compare(case, on_ray, name, sizes=(9, 5, 1, 8, 13), norm=True, least_batch=2, atol=2e-5)


@pytest.mark.slow
def test_a_merge_rule_on_both_sides(case, on_ray) -> None:
    compare(case, on_ray, "sflv1", sizes=UNEQUAL, rule=MERGE_RULES.load("norm-bound")(), ray_server="cluster")


@pytest.mark.slow
def test_equal_batches(case, on_ray) -> None:
    compare(case, on_ray, "sglr", sizes=EQUAL)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS.names() if METHODS.load(name).pooled])
def test_pooled_data(case, on_ray, name: str) -> None:
    here, there = case(make(name)).build(), on_ray(make(name))
    here.run()
    there.run()
    assert_alike(everything(here), everything(there))


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["int8", "topk:0.4,feedback=true"])
@pytest.mark.parametrize("name", ["psl", "sglr"])
def test_with_compression(case, on_ray, name: str, compression: str) -> None:
    compare(case, on_ray, name, sizes=UNEQUAL, compression=compression)


@pytest.mark.slow
@pytest.mark.parametrize("ray_server", ["driver", "cluster"])
def test_with_defences(case, on_ray, ray_server: str) -> None:
    defence = "nopeek:weight=0.5+clip:norm=1+noise:sigma=0.1+max-norm"
    compare(case, on_ray, "sglr", sizes=UNEQUAL, defence=defence, ray_server=ray_server, atol=1e-5)


@pytest.mark.slow
def test_average_by_class_with_label_priors_and_clipping(case, on_ray) -> None:
    method = METHODS.load("sglr")(average="class", phi=0.8)
    kwargs = {"sizes": UNEQUAL, "batch": 4, "label_prior": "correct", "clip_norm": 0.1, "optimizer": "adam"}
    here, there = case(method, **kwargs).build(), on_ray(method, block_clients=3, **kwargs)
    here.run()
    there.run()
    assert_alike(everything(here), everything(there), atol=1e-4)


def ended(trainer: Trainer) -> dict[str, Tensor]:
    """Train, and end the processes, which another training may need the processors of."""
    trainer.run()
    found = everything(trainer)
    trainer.engine.close(done=True)
    return found


@pytest.mark.slow
def test_layers_that_draw_are_repeated_bit_for_bit(on_ray) -> None:
    first, second = (ended(on_ray(make("psl"), sizes=EQUAL, dropout=0.5, block_clients=3)) for _ in range(2))
    assert_alike(first, second, atol=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sflv1", "fl"])
def test_a_server_in_the_cluster(case, on_ray, name: str) -> None:
    compare(case, on_ray, name, sizes=UNEQUAL, ray_server="cluster")


@pytest.mark.slow
def test_a_server_in_the_cluster_learns_bit_for_bit_what_one_here_does(on_ray) -> None:
    kwargs = {"sizes": EQUAL, "dropout": 0.5, "block_clients": 3, "label_prior": "correct"}
    here = ended(on_ray(make("sglr"), **kwargs))
    there = ended(on_ray(make("sglr"), ray_server="cluster", **kwargs))
    assert_alike(here, there, atol=0.0)
