"""A training's operations are one sample's times the samples that clients really trained on; Table 4 follows."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from sglr.core.model import build_model
from sglr.cost.computation import segment_flops
from sglr.cost.training_flops import Computation, count_training, trained_samples
from sglr.methods.cl import CL
from sglr.methods.fl import FL
from sglr.methods.psl import PSL
from sglr.methods.sflv1 import SFLV1
from sglr.methods.ssl import SSL
from sglr.splitting import split

LOWER, UPPER = 2 * 4 * 3, 2 * 3 * 3 + 2 * 3 * 3
"""Operations of the tests' segments, 4 -> 3 at the client and 3 -> 3 -> 3 at the server."""


@pytest.mark.parametrize("method", [PSL(), SSL(), SFLV1()])
def test_a_split_training_by_hand(case, method):
    tried = case(method, sizes=(6, 4, 2), epochs=2)
    lower, _ = tried.segments()
    counted = count_training(tried.run(), lower(0), (4,))
    assert counted.client_flops.tolist() == [2 * size * 2 * LOWER for size in (6, 4, 2)]  # no gradient of the input
    assert counted.server_flops == 2 * (6 + 4 + 2) * 3 * UPPER
    found = counted.summary()
    assert found["client_flops"] == {"mean": 2 * 4 * 2 * LOWER, "max": 2 * 6 * 2 * LOWER}
    assert found["total_flops"] == 2 * 12 * (2 * LOWER + 3 * UPPER)
    assert found["paper"] == {
        "client_flops": 2 * 4 * 3 * LOWER,
        "server_flops": 2 * 12 * 3 * UPPER,
        "total_flops": 2 * 12 * 3 * (LOWER + UPPER),
    }
    assert found["uncounted_ops"]["client"]["tanh"] == 1
    json.dumps(found)


@pytest.mark.parametrize("method", [FL(), CL()])
def test_whole_models_are_computed_at_the_client(case, method):
    tried = case(method, sizes=(6, 4, 2), epochs=2)
    lower, _ = tried.segments()
    found = count_training(tried.run(), lower(0), (4,)).summary()
    clients = 1 if method.pooled else 3
    assert found["server_flops"] == found["paper"]["server_flops"] == 0
    assert found["paper"]["client_flops"] * clients == 2 * 12 * 3 * (LOWER + UPPER)
    assert found["client_flops"]["mean"] * clients == found["total_flops"]


@pytest.mark.parametrize("method", [PSL(), FL(local_epochs=2)])
def test_only_clients_that_took_part_are_counted(case, method):
    trainer = case(method, sizes=(6, 5, 4, 3), epochs=4, participation=0.5).run()
    samples = trained_samples(trainer)
    assert samples.sum() == trainer.progress.samples
    assert len(set(np.array(samples) / (6, 5, 4, 3))) > 1


def table_4(shape):
    """Return CL's, FL's and a split client's operations by the paper's rule, with AlexNet and 5 clients."""
    whole = build_model("alexnet", shape, 10)
    lower, upper = split(whole, whole.default_cut)
    own, everyone = 1000, np.full(5, 1000)
    client, nothing = segment_flops(lower, shape), segment_flops(nn.Identity(), (10,), input_gradient=True)
    server = segment_flops(upper, client.output_shape, input_gradient=True)
    complete = segment_flops(whole, shape)
    trainings = (
        Computation(complete, nothing, np.array([5 * own])),
        Computation(complete, nothing, everyone),
        Computation(client, server, everyone),
    )
    return [training.summary()["paper"] for training in trainings]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_ratios_of_table_4(shape):
    central, federated, split_learning = table_4(shape)
    assert central["client_flops"] == 5 * federated["client_flops"]  # |C|; the paper has 2.944 / 0.588 = 5.007
    ratio = split_learning["client_flops"] / federated["client_flops"]
    assert 0.001 < ratio < 0.05  # the paper's AlexNet has 0.031 / 0.588 = 0.053
    # Cutting moves operations and makes none.
    totals = [figures["total_flops"] for figures in (central, federated, split_learning)]
    assert all(one == other for one, other in pairwise(totals))


def test_a_run_is_counted_on_the_model_that_it_trained(case):
    tried = case(PSL(), norm=True)
    trainer, (lower, _) = tried.run(), tried.segments()
    before = {name: tensor.clone() for name, tensor in trainer.state().items()}
    count_training(trainer, lower(0), (4,))
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.state().items())
