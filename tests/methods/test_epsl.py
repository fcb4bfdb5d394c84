"""EPSL: one step by hand, of batches that are equal and that are not."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sglr.core.errors import UsageError
from sglr.core.mixing.last_layer_avg import LastLayerAvg
from sglr.core.optim import OptimizerSpec
from sglr.core.types import Uplink
from sglr.methods.epsl import EPSL
from sglr.methods.psl import PSL
from sglr.parties.server import SplitServer
from sglr.parties.server_spec import ServerSpec
from sglr.tasks.classification import Classification

RATE = 0.5


def by_hand(p: Any, share: float, priors: Any = None) -> tuple[Any, Any]:
    """Work out the gradient by the server's weights, and each client's by its smashed data."""
    n, total = ceil(share * max(p.sizes)), sum(p.sizes)
    s = [p.x[i] @ p.w_c[i].T for i in range(len(p.sizes))]
    r = []
    for i in range(len(p.sizes)):
        z = s[i] @ p.w_s.T + (0.0 if priors is None else priors[i])
        r.append(np.exp(z) / np.exp(z).sum(1, keepdims=True) - np.eye(3)[p.y[i]])
    by_weight, cut = np.zeros_like(p.w_s), np.zeros((len(p.sizes), max(p.sizes), 2))
    for j in range(max(p.sizes)):
        having = [i for i, size in enumerate(p.sizes) if j < size]
        if j < n:
            s_mean = np.mean([s[i][j] for i in having], 0)
            r_sum = np.sum([r[i][j] for i in having], 0)
            by_weight += np.outer(r_sum, s_mean) / total
            for i in having:
                cut[i, j] = p.w_s.T @ r_sum / sum(p.sizes[k] for k in having)
        else:
            for i in having:
                by_weight += np.outer(r[i][j], s[i][j]) / total
                cut[i, j] = p.w_s.T @ r[i][j] / p.sizes[i]
    return by_weight, cut


@pytest.mark.parametrize("sizes", [(4, 4, 4), (2, 4, 1)], ids=str)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.6, 1.0])
def test_first_samples_go_back_together_and_the_others_one_by_one(problem, context, close, sizes, share) -> None:
    p = problem(sizes)
    server = p.server()
    found = EPSL(share).exchange(server, p.uplink(), context(rate=RATE))
    by_weight, cut = by_hand(p, share)
    close(found.gradients, cut)
    close(server.segment.weight, p.w_s - RATE * by_weight)
    first = ceil(share * max(sizes))
    assert found.averaged.samples == len(found.averaged.gradients) == first
    close(found.averaged.gradients, cut[sizes.index(4), :first])
    assert server.read_metrics().samples == sum(sizes)
    loss = sum(p.gradients(i).loss.sum() for i in range(3))
    assert server.read_metrics().loss == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("label_prior", ["own", "pooled"])
def test_priors_are_in_the_gradients_by_outputs(problem, context, close, label_prior: str) -> None:
    p = problem((2, 3, 1))
    counts = np.stack([np.bincount(y, minlength=3) + 1 for y in p.y])
    own = np.log(counts / counts.sum(1, keepdims=True))
    pooled = np.bincount(np.concatenate(p.y), minlength=3) + 1
    server = p.server(label_prior)
    found = EPSL(0.5).exchange(server, p.uplink(), context(rate=RATE))
    close(found.gradients, by_hand(p, 0.5, own)[1])
    of_step = own if label_prior == "own" else np.stack([np.log(pooled / pooled.sum())] * 3)
    close(server.segment.weight, p.w_s - RATE * by_hand(p, 0.5, of_step)[0])


@pytest.mark.parametrize(("share", "sizes"), [(0.0, (2, 3)), (0.7, (3,)), (1.0, (1, 1, 1))])
def test_without_an_average_it_is_psl(problem, context, share: float, sizes) -> None:
    p = problem(sizes)
    one, other = p.server(), p.server()
    first = EPSL(share).exchange(one, p.uplink(), context(rate=RATE)).gradients
    second = PSL().exchange(other, p.uplink(), context(rate=RATE)).gradients
    assert np.array_equal(first, second)
    assert np.array_equal(one.segment.weight.detach(), other.segment.weight.detach())


def test_so_many_samples_go_back_and_batch_statistics_are_those_of_all(context) -> None:
    """Ten clients, eight images each, the first four of which go back together: 4 + 10 · 4 of 80."""
    torch.manual_seed(0)
    segment = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 3))
    spec = ServerSpec(segment, OptimizerSpec("sgd"), Classification(), classes=3, clients=10, label_prior="ignore")
    one, other = (SplitServer(replace(spec, segment=deepcopy(segment)), torch.device("cpu")) for _ in range(2))
    uplink = Uplink(torch.randn(10, 8, 2, 4, 4), torch.randint(3, (10, 8)), tuple(range(10)), (8,) * 10)
    step = LastLayerAvg(uplink, 0.5)
    assert step.first == 4
    assert step.smashed().shape == (44, 2, 4, 4)
    EPSL(0.5).exchange(one, uplink, context())
    means = one.segment[1].running_mean.clone()
    other.learn(uplink, context(), 0.0)
    assert torch.equal(means, other.segment[1].running_mean)


@pytest.mark.parametrize(("share", "batch", "first"), [(0.1, 10, 1), (0.7, 10, 7), (0.3, 10, 3), (0.25, 10, 3)])
def test_rounding_of_products_takes_no_sample_too_many(share: float, batch: int, first: int) -> None:
    uplink = Uplink(torch.zeros(2, batch, 1), torch.zeros(2, batch), (0, 1), (batch, batch))
    assert LastLayerAvg(uplink, share).first == first


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_refuses_a_share_that_makes_no_sense(share: float) -> None:
    with pytest.raises(UsageError, match=r"^averaged_share = .*: is outside \[0, 1\]; give a share, such as 0.5"):
        EPSL(share)
