"""SplitGP: clients learn by two losses, keep a share of their own weights in every merge, and answer where sure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sglr
from sglr.cli.main import main
from sglr.core.errors import UsageError
from sglr.core.random import generator
from sglr.core.weights import mixed, state_of
from sglr.methods.sfl import SFL
from sglr.methods.sflv1 import SFLV1
from sglr.methods.splitgp import SplitGP

RATE, SERVER_RATE = 0.5, 0.25
W_A = np.array([[0.5, -1.0], [0.25, 0.75], [-0.5, 1.5]])
"""A head: two numbers at the cut to three classes."""


def head() -> nn.Linear:
    layer = nn.Linear(2, 3, bias=False)
    layer.weight = nn.Parameter(torch.tensor(W_A, dtype=torch.float32))
    return layer


class ByHand:
    """Clients with equal first weights, each with one step in an epoch."""

    def __init__(self, problem: Any, sizes: tuple[int, ...], gamma: float, lam: float) -> None:
        self.p, self.gamma, self.lam = problem(sizes, same=True), gamma, lam
        self.p.w_c = [self.p.w_c[0]] * len(sizes)
        self.w_c, self.w_s = list(self.p.w_c), self.p.w_s
        self.w_a = [W_A] * len(sizes)
        self.shared, self.holders = (self.p.w_c[0], W_A), set()

    def epoch(self, present: tuple[int, ...]) -> None:
        """Take an epoch of those present: they take up the merged weights, step, and merge."""
        self.take_up(present)
        copies = {}
        for i in present:
            by_server = self.p.gradients(i, self.w_c[i], self.w_s)
            by_head = self.p.gradients(i, self.w_c[i], self.w_a[i])
            by_client = (1 - self.gamma) * by_server.client.mean(0) + self.gamma * by_head.client.mean(0)
            copies[i] = self.w_s - SERVER_RATE * (1 - self.gamma) * by_server.server.mean(0)
            self.w_c[i] = self.w_c[i] - RATE * by_client
            self.w_a[i] = self.w_a[i] - RATE * self.gamma * by_head.server.mean(0)
        sizes = np.array([self.p.sizes[i] for i in present])
        shares = sizes / sizes.sum()
        self.w_s = sum(share * copies[i] for share, i in zip(shares, present, strict=True))
        self.shared = tuple(
            sum(share * own[i] for share, i in zip(shares, present, strict=True)) for own in (self.w_c, self.w_a)
        )
        self.holders = set()
        self.take_up(present)

    def take_up(self, present: tuple[int, ...]) -> None:
        for i in {*present} - self.holders:
            self.w_c[i] = self.lam * self.w_c[i] + (1 - self.lam) * self.shared[0]
            self.w_a[i] = self.lam * self.w_a[i] + (1 - self.lam) * self.shared[1]
        self.holders |= {*present}


@pytest.mark.parametrize("stacking", ["stacked", "looped"])
@pytest.mark.parametrize(("gamma", "lam"), [(0.25, 0.5), (0.5, 0.0), (0.0, 0.2), (0.75, 1.0)])
def test_epochs_by_hand(problem, close, gamma: float, lam: float, stacking: str) -> None:
    wanted = ByHand(problem, (2, 3, 1), gamma, lam)
    options = {"rate": RATE, "server_rate": SERVER_RATE, "epochs": 3, "head": head(), "stacking": stacking}
    trainer = wanted.p.build(SplitGP(gamma, lam), **options).run()
    for _ in range(3):
        wanted.epoch((0, 1, 2))
    found = trainer.engine.collect((0, 1, 2))
    close(found["lower.weight"], np.stack(wanted.w_c))
    close(found["head.weight"], np.stack(wanted.w_a))
    close(trainer.server.segment.weight, wanted.w_s)
    close(trainer.shared["lower.weight"], wanted.shared[0])
    assert (np.ptp(found["lower.weight"].numpy(), axis=0).max() > 1e-3) == (lam > 0)


@pytest.mark.parametrize("leave", [False, True], ids=["", "clients leave"])
def test_whoever_was_absent_mixes_in_the_newest_average_once_when_it_is_back(problem, close, leave: bool) -> None:
    wanted = ByHand(problem, (2, 3, 1, 4), 0.5, 0.25)
    options = {"rate": RATE, "server_rate": SERVER_RATE, "epochs": 6, "head": head(), "participation": 0.5}
    trainer = wanted.p.build(SplitGP(0.5, 0.25), clients_leave=leave, **options).run()
    present = [trainer.participants(epoch) for epoch in range(6)]
    assert len({*present}) > 2, "the same clients always: the test saw nothing"
    for clients in present:
        wanted.epoch(clients)
    found = trainer.engine.collect((0, 1, 2, 3))
    close(found["lower.weight"], np.stack(wanted.w_c))
    close(found["head.weight"], np.stack(wanted.w_a))
    close(trainer.server.segment.weight, wanted.w_s)


@pytest.mark.parametrize("optimizer", ["sgd:momentum=0.9", "adam"])
def test_without_the_head_and_a_share_of_ones_own_it_is_sflv1(case, optimizer: str) -> None:
    options = {"sizes": (8, 5, 3), "optimizer": optimizer, "participation": 0.7, "epochs": 3}
    plain, found = (case(method, **options).run() for method in (SFLV1(), SplitGP(0.0, 0.0)))
    for name, wanted in plain.shared.items():
        torch.testing.assert_close(found.shared[f"lower.{name}"], wanted, atol=1e-6, rtol=1e-5)
    for name, wanted in plain.server.segment.state_dict().items():
        torch.testing.assert_close(found.server.segment.state_dict()[name], wanted, atol=1e-6, rtol=1e-5)


def test_one_client_is_a_network_with_two_exits(case) -> None:
    """It trains on γ times the loss of the first exit, and 1 − γ times that of the last."""
    training = case(SplitGP(0.3, 0.5), sizes=(12,), optimizer="adam", rate=0.05, epochs=2, norm=True, accumulate=2)
    lower, upper = training.segments()
    own, samples = lower(0), training.clients().train
    plain = torch.optim.Adam([*own.parameters(), *upper.parameters()], lr=0.05)
    for epoch in range(2):
        order = torch.from_numpy(generator(0, "order", 0, epoch).permutation(12))
        for together in order.split(6):
            plain.zero_grad()
            for batch in together.split(3):
                smashed, labels = own.lower(samples.inputs[batch]), samples.targets[batch]
                losses = [nn.functional.cross_entropy(layers(smashed), labels) for layers in (own.head, upper)]
                ((0.3 * losses[0] + 0.7 * losses[1]) / 2).backward()
            plain.step()
    trainer = training.run()
    found = trainer.engine.collect((0,))
    for name, tensor in state_of(own).items():
        torch.testing.assert_close(found[name][0], tensor, atol=1e-6, rtol=1e-5)
    for name, tensor in upper.state_dict().items():
        torch.testing.assert_close(trainer.server.segment.state_dict()[name], tensor, atol=1e-6, rtol=1e-5)


def test_a_mix_of_equal_weights_is_those_weights_and_counts_are_rounded() -> None:
    own = {"a": torch.randn(3, 5), "n": torch.tensor([2, 5, 9]), "left": torch.ones(3)}
    same = mixed(own, {"a": own["a"][0], "n": own["n"][0]}, 0.2)
    assert torch.equal(same["a"][0], own["a"][0])
    assert same["n"].tolist() == [2, 3, 3]
    assert same.keys() == {"a", "n"}
    torch.testing.assert_close(same["a"][1], 0.2 * own["a"][1] + 0.8 * own["a"][0])


DIGITS: dict[str, Any] = {"clients": 3, "samples_per_client": 60, "epochs": 3, "threads": 1, "model": "mlp"}


def test_every_client_of_a_run_has_its_own_network_and_answers_where_it_is_sure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sglr.train("splitgp", **DIGITS, partition="shards", out=tmp_path / "run")
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert len({*run.summary["test"]["per_client"]["accuracy"]}) > 1
    told = run.summary["communication"]["by_kind"]
    assert "gradients" in told["down"]
    assert "weights" in told["up"]
    with pytest.raises(UsageError, match="client = shared: each client has lower layers of its own in this run"):
        run.network("shared")
    inputs = torch.rand(5, 1, 8, 8)
    first, second = (run.network(client) for client in (0, 1))
    assert not torch.allclose(first.outputs(inputs), second.outputs(inputs))
    alone = first.alone()
    torch.testing.assert_close(alone.outputs(inputs), first.heads[0](first.segments[0].lower(inputs)))
    command = ["evaluate", str(run.path), "--head-entropy", "0.5", "--client", "1", "--json"]
    assert main(command) == 0
    assert "heads answered for" in json.loads(capsys.readouterr().out)["client"]


@dataclass(frozen=True)
class Partly(SFL):
    """SplitFed whose clients keep a tenth of their own weights."""

    @property
    def own_share(self) -> float:
        return 0.1


def test_any_method_that_averages_may_leave_a_share_to_each_client(tmp_path: Path) -> None:
    """Also every two steps, and when its run is read again without its code."""
    run = sglr.train(Partly(2), **DIGITS, out=tmp_path / "run")
    assert len({*run.summary["test"]["per_client"]["accuracy"]}) > 1
    inputs = torch.rand(5, 1, 8, 8)
    first, second = (sglr.load_model(tmp_path / "run", client)(inputs) for client in (0, 1))
    assert not torch.allclose(first, second)
    traffic = run.summary["communication"]["by_kind"]
    plain = sglr.train(SFL(2), **DIGITS, out=tmp_path / "plain").summary["communication"]["by_kind"]
    assert traffic == plain


@pytest.mark.parametrize("gamma", [-0.1, 1.0, float("nan")])
def test_a_weight_that_is_none_is_refused(gamma: float) -> None:
    with pytest.raises(UsageError, match=rf"gamma = {gamma}: is no weight that leaves some to the server's loss; give"):
        SplitGP(gamma=gamma)


@pytest.mark.parametrize("lam", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(lam: float) -> None:
    with pytest.raises(UsageError, match=rf"lam = {lam}: is no share; give 0, with which all clients become equal"):
        SplitGP(lam=lam)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tail": "relu2"}, "tail = relu2: method splitgp has a loss at the client"),
        ({"merge": "never"}, "merge = never: when weights are merged or handed on is part of the method SplitGP"),
        ({"label_prior": "pooled"}, "no step on all clients together"),
        ({"head": "nothing"}, "head = nothing"),
    ],
)
def test_what_contradicts_it_is_refused_before_any_work(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        sglr.train("splitgp", **{**DIGITS, **settings}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
