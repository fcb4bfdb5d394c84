"""GPSL and MiniBatch-SFL: points of the batching axis; the rules themselves are tested where batches are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import sglr
from sglr.core.errors import UsageError
from sglr.core.optim import OptimizerSpec
from sglr.core.types import StepContext, Uplink
from sglr.methods.gpsl import GPSL
from sglr.parties.server import SplitServer
from sglr.parties.server_spec import ServerSpec
from sglr.tasks.classification import Classification

W = np.array([[1.0, -0.5], [0.25, 0.75], [-1.0, 0.5]])
SETTINGS = {"dataset": "digits", "clients": 3, "samples_per_client": 32, "epochs": 2, "model": "mlp", "threads": 1}
UNEVEN = {**SETTINGS, "samples_per_client": None, "epochs": 1, "partition": "dirichlet", "concentration": 0.3}


def make_server() -> SplitServer:
    segment = nn.Linear(2, 3, bias=False)
    segment.weight = nn.Parameter(torch.tensor(W, dtype=torch.float32))
    spec = ServerSpec(segment, OptimizerSpec.parse("sgd"), Classification(), classes=3, clients=2, label_prior="ignore")
    return SplitServer(spec, torch.device("cpu"))


def test_clients_get_gradients_of_the_mean_over_the_step() -> None:
    rng, sizes = np.random.default_rng(0), (3, 1)
    smashed, labels = torch.zeros(2, 3, 2), torch.zeros(2, 3, dtype=torch.int64)
    for row, size in enumerate(sizes):
        smashed[row, :size] = torch.from_numpy(rng.normal(size=(size, 2)))
        labels[row, :size] = torch.from_numpy(rng.integers(3, size=size))
    uplink = Uplink(smashed, labels, (0, 1), sizes)
    context = StepContext(0, 1, 0, 1, rng, server_rate=0.5)
    found = GPSL().exchange(make_server(), uplink, context).gradients
    own = GPSL(mean="own").exchange(make_server(), uplink, context).gradients
    for row, size in enumerate(sizes):
        z = smashed[row, :size].double().numpy() @ W.T
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        cut = (p - np.eye(3)[labels[row, :size].numpy()]) @ W
        np.testing.assert_allclose(found[row, :size], cut / 4, atol=1e-6)
        np.testing.assert_allclose(own[row, :size], cut / size, atol=1e-6)


def test_another_mean_is_refused() -> None:
    with pytest.raises(UsageError, match="mean"):
        GPSL(mean="all")


@pytest.mark.parametrize(("name", "same"), [("minibatch-sfl", "sfl"), ("gpsl", "psl")])
def test_they_are_other_methods_with_another_rule_of_batches(name: str, same: str) -> None:
    own = {"mean": "own"} if name == "gpsl" else {}
    first = sglr.train(name, **UNEVEN, **own)
    second = sglr.train(same, **UNEVEN, batching=first.experiment.batching)
    assert first.summary["weights_sha256"] == second.summary["weights_sha256"]
    assert first.summary["weights_sha256"] != sglr.train(same, **UNEVEN).summary["weights_sha256"]
