"""FSL-SAGE: heads imitate the server's gradients, and are aligned by what clients uploaded."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sglr.core.errors import UsageError
from sglr.core.events import Event, Hooks, Traffic
from sglr.core.types import Uplink
from sglr.methods.fsl_sage import FSLSage
from sglr.parties.aligned_heads import AlignedHeads
from sglr.splitting import given_head
from sglr.tasks.binary import Binary
from sglr.tasks.classification import Classification

W_A = np.array([[0.5, -1.0], [0.25, 0.75], [-0.5, 1.5]])
"""A head: two numbers at the cut to three classes."""


def head() -> nn.Module:
    layer = nn.Linear(2, 3, bias=False)
    layer.weight = nn.Parameter(torch.tensor(W_A, dtype=torch.float32))
    return layer


def imitated(w_a: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Work out each sample's gradient by its smashed data, as a head estimates it."""
    p = np.exp(s @ w_a.T)
    return (p / p.sum(1, keepdims=True) - np.eye(3)[y]) @ w_a


def by_head(w_a: np.ndarray, s: np.ndarray, y: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Work out the gradient of Σ ‖imitated − wanted‖² by the head, by differences."""
    found = np.zeros_like(w_a)
    for place in np.ndindex(w_a.shape):
        ends = []
        for way in (1e-6, -1e-6):
            moved = w_a.copy()
            moved[place] += way
            ends.append(((imitated(moved, s, y) - wanted) ** 2).sum())
        found[place] = (ends[0] - ends[1]) / 2e-6
    return found


def test_a_step_by_hand(problem, close) -> None:
    """A client goes back with its head's gradient; the head stays as it is, and its own."""
    p = problem((2, 3))
    trainer = p.build(FSLSage(h=1), rate=0.5, head=head()).run()
    moved = []
    for client in range(2):
        estimate = imitated(W_A, p.x[client] @ p.w_c[0].T, p.y[client])
        moved.append(p.w_c[0] - 0.5 * (estimate[:, :, None] * p.x[client][:, None, :]).mean(0))
    assert trainer.shared.keys() == {"lower.weight"}
    close(trainer.shared["lower.weight"], 2 / 5 * moved[0] + 3 / 5 * moved[1])
    close(trainer.engine.collect((0, 1))["head.weight"], np.stack([W_A, W_A]))


def test_an_alignment_by_hand(problem, close) -> None:
    """One step of Adam moves each weight by its rate, against the sign of the gradient of a gradient."""
    p = problem((3,))
    server, uplink = p.server(), p.uplink()
    aligned = AlignedHeads(given_head(head()), Classification(), torch.device("cpu"))
    aligned.remember(uplink, 10)
    given = aligned.align((0, 7), 1, server._gradients, lambda _: None)
    s = p.x[0] @ p.w_c[0].T
    gradient = by_head(W_A, s, p.y[0], p.gradients(0).cut)
    assert np.abs(gradient).min() > 1e-3
    assert given.clients == (0,)
    close(given.weights["head.weight"][0], W_A - 1e-3 * np.sign(gradient))


def test_two_alignments_on_the_same_are_one_that_is_as_long(problem, close) -> None:
    """Adam goes on with its moments, also in a server that is restored between the two."""
    p = problem((5,))
    server, uplink = p.server(), p.uplink()
    whole, first, second = (AlignedHeads(given_head(head()), Classification(), torch.device("cpu")) for _ in range(3))
    for one in (whole, first):
        one.remember(uplink, 5)
    wanted = whole.align((0,), 7, server._gradients, lambda _: None)
    first.align((0,), 3, server._gradients, lambda _: None)
    second.restore(first.state())
    found = second.align((0,), 4, server._gradients, lambda _: None)
    close(found.weights["head.weight"], wanted.weights["head.weight"])


def test_alignment_brings_the_estimate_closer_to_the_servers_gradients(problem) -> None:
    p = problem((40,))
    server, uplink = p.server(), p.uplink()
    aligned = AlignedHeads(given_head(head()), Classification(), torch.device("cpu"))
    aligned.remember(uplink, 40)
    given = aligned.align((0,), 400, server._gradients, lambda _: None)
    s, wanted = p.x[0] @ p.w_c[0].T, p.gradients(0).cut
    apart = [((imitated(w, s, p.y[0]) - wanted) ** 2).sum() for w in (W_A, given.weights["head.weight"][0].numpy())]
    assert apart[1] < 0.6 * apart[0]


def test_the_newest_uploads_are_kept() -> None:
    aligned = AlignedHeads(given_head(head()), Classification(), torch.device("cpu"))
    for first in (0, 3, 6):
        smashed = torch.arange(first, first + 3, dtype=torch.float32)[None, :, None].expand(1, 3, 2)
        aligned.remember(Uplink(smashed, torch.zeros(1, 3, dtype=torch.int64), (4,), (3,)), 4)
    assert sorted(aligned._samples(4).smashed[:, 0].tolist()) == [5, 6, 7, 8]
    smashed = torch.arange(9.0, 15)[None, :, None].expand(1, 6, 2)
    aligned.remember(Uplink(smashed, torch.zeros(1, 6, dtype=torch.int64), (4,), (6,)), 4)
    assert sorted(aligned._samples(4).smashed[:, 0].tolist()) == [11, 12, 13, 14]
    again = AlignedHeads(given_head(head()), Classification(), torch.device("cpu"))
    again.restore(aligned.state())
    assert again.state().keys() == aligned.state().keys()
    assert all(torch.equal(again.state()[name], tensor) for name, tensor in aligned.state().items())


def test_heads_go_down_every_so_many_epochs_and_are_counted(case) -> None:
    """Each client's is its own: three times three weights and three biases, of four bytes."""
    seen: list[Traffic] = []

    def note(event: Event) -> None:
        if isinstance(event, Traffic) and event.kind == "weights" and event.broadcast is None and not event.up:
            seen.append(event)

    method = FSLSage(h=1, align_every=2, align_epochs=2)
    trainer = case(method, sizes=(6, 4, 5), epochs=5, hooks=Hooks(observe=note)).run()
    assert [event.sizes.tolist() for event in seen] == [[12 * 4] * 3] * 2
    heads = trainer.engine.collect((0, 1, 2))["head.weight"]
    assert not torch.equal(heads[0], heads[1])


@pytest.mark.parametrize("name", ["h", "align_every", "align_epochs", "memory"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} = 0: is below 1"):
        FSLSage(**{name: 0})


def test_h_beyond_an_epoch_is_refused(case) -> None:
    with pytest.raises(UsageError, match="h = 5: an epoch has only 2 steps; give at most 2"):
        case(FSLSage(), sizes=(6, 6)).run()


def test_a_head_of_one_logit_is_aligned_by_the_log_odds_of_a_prior(problem) -> None:
    """Equally frequent classes change nothing; others change the head as a shift of its logit does."""
    uplink = problem((3,)).uplink()
    uplink = replace(uplink, told=uplink.labels % 2)
    prior = torch.log(torch.tensor([0.2, 0.8]))
    found = []
    for bias, added in ((0.0, None), (0.0, torch.log(torch.full((2,), 0.5))), (math.log(4), None), (0.0, prior)):
        layer = nn.Linear(2, 1)
        layer.weight, layer.bias = nn.Parameter(torch.tensor(W_A[:1]).float()), nn.Parameter(torch.full((1,), bias))
        aligned = AlignedHeads(given_head(layer), Binary(), torch.device("cpu"))
        aligned.remember(uplink, 10)
        given = aligned.align((0,), 1, lambda one, _: torch.ones_like(one.smashed), lambda _, log=added: log)
        found.append(given.weights["head.weight"])
    plain, alike, shifted, corrected = found
    torch.testing.assert_close(plain, alike)
    torch.testing.assert_close(shifted, corrected)
