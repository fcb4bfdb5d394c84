"""CycleSL on a network whose gradients fit on paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sglr.core.errors import UsageError
from sglr.core.optim import OptimizerSpec
from sglr.core.types import StepContext, Uplink
from sglr.methods.cyclesl import CycleSL
from sglr.parties.server import SplitServer
from sglr.parties.server_spec import ServerSpec
from sglr.tasks.classification import Classification

W = np.array([[1.0, -0.5], [0.25, 0.75], [-1.0, 0.5]])
RATE = 0.5
SIZES, OWNED = (3, 2), (30, 7)


def make_server(**options: Any) -> SplitServer:
    segment = nn.Linear(2, 3, bias=False)
    segment.weight = nn.Parameter(torch.tensor(W, dtype=torch.float32))
    own: dict[str, Any] = {"task": Classification(), "classes": 3, "clients": 2, "label_prior": "ignore", **options}
    return SplitServer(ServerSpec(segment, OptimizerSpec.parse("sgd"), **own), torch.device("cpu"))


def make_uplink() -> Uplink:
    rng = np.random.default_rng(0)
    smashed, labels = torch.zeros(2, 3, 2), torch.zeros(2, 3, dtype=torch.int64)
    for row, size in enumerate(SIZES):
        smashed[row, :size] = torch.from_numpy(rng.normal(size=(size, 2)))
        labels[row, :size] = torch.from_numpy(rng.integers(3, size=size))
    return Uplink(smashed, labels, (0, 1), SIZES)


def context() -> StepContext:
    return StepContext(0, 1, 0, 1, np.random.default_rng(5), server_rate=RATE, data_sizes=OWNED)


def by_logits(w: np.ndarray, s: np.ndarray, y: np.ndarray, prior: Any = 0.0) -> np.ndarray:
    z = s @ w.T + prior
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return p - np.eye(3)[y]


def flat(uplink: Uplink) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    s, y = uplink.flatten(uplink.smashed).double().numpy(), uplink.flatten(uplink.labels).numpy()
    return s, y, np.repeat(np.array(OWNED, dtype=float), SIZES)


def after_steps(w: np.ndarray, uplink: Uplink, batches: list[list[int]], prior: Any = 0.0) -> np.ndarray:
    s, y, n = flat(uplink)
    for rows in batches:
        share = n[rows] / n[rows].sum()
        own = prior[rows] if isinstance(prior, np.ndarray) else prior
        w = w - RATE * (by_logits(w, s[rows], y[rows], own) * share[:, None]).T @ s[rows]
    return w


@pytest.mark.parametrize(("epochs", "size", "ends"), [(1, 2, [2]), (2, 3, [3]), (1, 0, [3]), (1, 1, [1, 2, 3])])
def test_the_server_steps_on_drawn_batches_and_then_tells_gradients_at_its_new_weights(epochs, size, ends) -> None:
    uplink, server, rng = make_uplink(), make_server(), np.random.default_rng(5).spawn(1)[0]
    found = CycleSL(server_epochs=epochs, server_batch=size).exchange(server, uplink, context())
    batches = [part.tolist() for _ in range(epochs) for part in np.split(rng.permutation(5), ends)]
    w = after_steps(W, uplink, batches)
    np.testing.assert_allclose(server.segment.weight.detach(), w, atol=1e-5)
    s, y, _ = flat(uplink)
    cut = by_logits(w, s, y) @ w
    np.testing.assert_allclose(found.gradients[0], cut[:3] / 3, atol=1e-5)
    np.testing.assert_allclose(found.gradients[1, :2], cut[3:] / 2, atol=1e-5)
    assert not found.gradients[1, 2:].any()
    assert found.averaged is None


def test_with_all_clients_active_everyone_gets_the_average_by_position() -> None:
    one, all_active = make_server(), make_server()
    apart = CycleSL().exchange(one, make_uplink(), context()).gradients
    found = CycleSL(phi=1.0).exchange(all_active, make_uplink(), context())
    mean = (apart[0, :2] + apart[1, :2]) / 2
    torch.testing.assert_close(found.gradients[:, :2], mean.expand(2, 2, 2))
    torch.testing.assert_close(found.gradients[0, 2], apart[0, 2])
    assert found.averaged is not None and found.averaged.by_position


def test_priors_are_pooled_in_the_steps_and_own_in_what_is_told() -> None:
    uplink, server = make_uplink(), make_server(label_prior="pooled")
    found = CycleSL(server_batch=5).exchange(server, uplink, context())
    s, y, _ = flat(uplink)
    counts = [np.bincount(part, minlength=3) + 1.0 for part in (y, y[:3], y[3:])]
    pooled, *own = (np.log(count / count.sum()) for count in counts)
    w = after_steps(W, uplink, [[0, 1, 2, 3, 4]], np.tile(pooled, (5, 1)))
    np.testing.assert_allclose(server.segment.weight.detach(), w, atol=1e-5)
    for row, rows in ((0, slice(0, 3)), (1, slice(3, 5))):
        told = by_logits(w, s[rows], y[rows], own[row]) @ w / SIZES[row]
        np.testing.assert_allclose(found.gradients[row, : SIZES[row]], told, atol=1e-5)


@pytest.mark.parametrize(("field", "value"), [("server_epochs", 0), ("server_batch", -1), ("phi", 1.5)])
def test_parameters_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=field):
        CycleSL(**{field: value})
