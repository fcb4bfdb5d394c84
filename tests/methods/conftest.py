"""A network of two linear layers whose gradients fit on paper, and clients with data of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from sglr.core.data import ClientData, Samples
from sglr.core.optim import OptimizerSpec
from sglr.core.task import Targets
from sglr.core.types import StepContext, Uplink
from sglr.parties.server import SplitServer
from sglr.parties.server_spec import ServerSpec
from sglr.tasks.classification import Classification

Array = NDArray[np.float64]


class PerSample(NamedTuple):
    """Loss of every sample [n], and its gradients: server layer [n, K, S], cut [n, S], client layer [n, S, I].

    s = W_c x and z = W_s s; with p = softmax(z) and y one-hot, the loss −log p_y has ∂/∂z = p − y. The chain rule gives
    ∂/∂W_s = (p − y) sᵀ, ∂/∂s = W_sᵀ (p − y), ∂/∂W_c = (∂/∂s) xᵀ.
    """

    loss: Array
    server: Array
    cut: Array
    client: Array


def per_sample_gradients(w_c: Array, w_s: Array, x: Array, y: NDArray[np.int64]) -> PerSample:
    """Work out the gradients of each sample's own loss."""
    s = x @ w_c.T
    z = s @ w_s.T
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    by_logits = p - np.eye(len(w_s))[y]
    cut = by_logits @ w_s
    return PerSample(
        -np.log(p[np.arange(len(y)), y]), by_logits[:, :, None] * s[:, None, :], cut, cut[:, :, None] * x[:, None, :]
    )


def linear(weight: Array) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float32))
    return layer


@dataclass
class Problem:
    """Clients with data x_i, y_i and first weights w_c,i, and the server's w_s.

    With ``same``, all samples of one client are equal, so that its batches don't depend on their order.
    """

    case: Callable[..., Any]
    sizes: Sequence[int]
    same: bool = False

    def __post_init__(self) -> None:
        rng = np.random.default_rng(7)
        # Numbers that float32 holds exactly.
        draw = lambda *shape: np.round(rng.normal(size=shape) * 16) / 16  # noqa: E731
        self.w_s = draw(3, 2)
        self.w_c = [draw(2, 2) for _ in self.sizes]
        self.x = [np.repeat(draw(1, 2), n, 0) if self.same else draw(n, 2) for n in self.sizes]
        self.y = [np.repeat(rng.integers(3, size=1), n) if self.same else rng.integers(3, size=n) for n in self.sizes]

    @property
    def shares(self) -> Array:
        """δ_i = |D_i| / |D|."""
        return np.array(self.sizes) / sum(self.sizes)

    def gradients(self, client: int, w_c: Array | None = None, w_s: Array | None = None) -> PerSample:
        """Work out the client's gradients, with the first weights or other ones."""
        own = self.w_c[client] if w_c is None else w_c
        return per_sample_gradients(own, self.w_s if w_s is None else w_s, self.x[client], self.y[client])

    def build(self, method: object, **options: Any) -> Any:
        """Describe a training with these numbers, by default one step per epoch of plain SGD."""
        samples = Samples(
            torch.tensor(np.concatenate(self.x), dtype=torch.float32), torch.tensor(np.concatenate(self.y))
        )
        rows = torch.arange(sum(self.sizes)).split(list(self.sizes))
        data = ClientData(samples, tuple(rows), None, samples, Targets.of_classes(tuple("abc")))
        defaults = {"batch": max(self.sizes), "epochs": 1, "optimizer": "sgd"}
        return self.case(
            method, data=data, lower=lambda i: linear(self.w_c[i]), upper=linear(self.w_s), **(defaults | options)
        )

    def server(self, label_prior: str = "ignore") -> SplitServer:
        """Build the server alone, with SGD."""
        spec = ServerSpec(
            linear(self.w_s),
            OptimizerSpec("sgd"),
            Classification(),
            classes=3,
            clients=len(self.sizes),
            label_prior=label_prior,
        )
        return SplitServer(spec, torch.device("cpu"))

    def uplink(self) -> Uplink:
        """Return what the clients send in one step of all their samples."""
        widest = max(self.sizes)
        smashed = torch.zeros(len(self.sizes), widest, 2)
        labels = torch.zeros(len(self.sizes), widest, dtype=torch.int64)
        for i, n in enumerate(self.sizes):
            smashed[i, :n] = torch.tensor(self.x[i] @ self.w_c[i].T)
            labels[i, :n] = torch.tensor(self.y[i])
        return Uplink(smashed, labels, tuple(range(len(self.sizes))), tuple(self.sizes))


@pytest.fixture(scope="session")
def problem(case: Callable[..., Any]) -> Callable[..., Problem]:
    """Build a problem: ``problem(sizes=(2, 3, 1))``."""
    return lambda sizes, same=False: Problem(case, sizes, same)


@pytest.fixture(scope="session")
def context() -> Callable[..., StepContext]:
    """Build a context with its own random numbers: ``context(seed, epoch=0, epochs=1, rate=0.0)``."""
    return lambda seed=0, epoch=0, epochs=1, rate=0.0: StepContext(
        epoch, epochs, 0, 1, np.random.default_rng(seed), server_rate=rate
    )


@pytest.fixture(scope="session")
def close() -> Callable[[Any, Array], None]:
    """Compare a tensor with numbers worked out in double precision."""

    def compare(found: Any, wanted: Array) -> None:
        found = found.detach().numpy() if isinstance(found, torch.Tensor) else found
        np.testing.assert_allclose(found, wanted, atol=2e-6, rtol=1e-5)

    return compare
