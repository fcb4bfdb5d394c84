"""What goes through the server's segment, and how often, is counted as each method has it, by hand."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import CLASSES, CUT, INPUTS, make_samples

import sglr
from sglr.core.data import ClientData, Samples
from sglr.core.events import ServerWork
from sglr.core.method import Method
from sglr.core.registry import METHODS
from sglr.core.task import Targets
from sglr.core.types import StepContext
from sglr.cost.training_flops import count_training

FORWARD = 2 * CUT * CUT + 2 * CUT * CLASSES
"""Operations of one sample in the tests' server, 3 -> 3 -> 3."""

BACKWARD, TO_WEIGHTS, TO_INPUTS = 2 * FORWARD, FORWARD + 2 * CUT * CLASSES, FORWARD
"""Of its way back: each layer's weights and inputs; not the first one's inputs; no weights."""

OF_METHODS = {
    "psl": ({}, "ignore", ServerWork(12, 12, 0, 0)),
    "sflv1": ({}, "ignore", ServerWork(12, 12, 0, 0)),
    "sflv2": ({}, "ignore", ServerWork(12, 12, 0, 0)),
    # Two losses go back from one pass: the step's to the weights, the clients' to the smashed data.
    "scala": ({}, "pooled", ServerWork(12, 0, 12, 12)),
    # A step learns from its six samples in batches of three, and then finds the gradients of all six anew.
    "cyclesl": ({}, "ignore", ServerWork(24, 0, 12, 12)),
    "cyclesl twice": ({"server_epochs": 2}, "ignore", ServerWork(36, 0, 24, 12)),
    # Beside the six samples of a step, each client's three are mixed with the other's.
    "mix2sfl": ({}, "ignore", ServerWork(24, 24, 0, 0)),
    "mix2sfl pooled": ({}, "pooled", ServerWork(24, 0, 24, 24)),
    "locfedmix-sl": ({}, "ignore", ServerWork(24, 24, 0, 0)),
    # Of batches of three, two are averaged over the clients: 2 + 2 x 1 samples go back, through a pass of their own.
    "epsl": ({"averaged_share": 0.5}, "ignore", ServerWork(12 + 8, 8, 0, 0)),
    # All three of each client's: three samples go back.
    "epsl all": ({"averaged_share": 1.0}, "ignore", ServerWork(12 + 6, 6, 0, 0)),
    # Nothing is sent back to clients.
    "cse-fsl": ({"h": 1}, "ignore", ServerWork(12, 0, 12, 0)),
}


def make(name: str, parameters: dict[str, float]) -> Method:
    method: Method = METHODS.load(name.partition(" ")[0])(**parameters)
    return method


@pytest.mark.parametrize("name", OF_METHODS)
def test_two_clients_with_two_batches_of_three(case, name: str) -> None:
    parameters, prior, wanted = OF_METHODS[name]
    tried = case(make(name, parameters), sizes=(6, 6), batch=3, epochs=1, label_prior=prior)
    trainer, (lower, _) = tried.run(), tried.segments()
    assert trainer.server.work == wanted
    counted = count_training(trainer, lower(0), (INPUTS,), work=wanted)
    forward, both, weights, inputs = wanted
    by_hand = forward * FORWARD + both * BACKWARD + weights * TO_WEIGHTS + inputs * TO_INPUTS
    assert counted.server_flops == by_hand
    assert counted.summary()["paper"]["server_flops"] == (forward + 2 * both + weights + inputs) * FORWARD


def test_what_gas_draws_is_counted(case) -> None:
    """Each client has a class of its own. Until all three are known none is drawn; then three of either other one."""
    labels = torch.arange(3).repeat_interleave(6)
    train = Samples(make_samples(18).inputs, labels)
    rows, held_out = tuple(torch.arange(18).split(6)), make_samples(12)
    data = ClientData(train, rows, held_out, held_out, Targets.of_classes(tuple("abc")))
    trainer = case(make("gas", {"buffer": 1}), data=data, sizes=(6, 6, 6), batch=3, epochs=1).run()
    learnt = 3 + 3 + 4 * 9
    assert trainer.server.work == ServerWork(18 + learnt, 0, learnt, 18)


def test_uneven_batches_and_accumulated_gradients_are_counted_sample_by_sample(case) -> None:
    for name in ("psl", "sflv1"):
        trainer = case(make(name, {}), sizes=(7, 4, 5), batch=3, epochs=2, accumulate=2).run()
        assert trainer.server.work == ServerWork(32, 32, 0, 0)


def test_gradients_alone_are_no_step(case) -> None:
    tried = case(make("psl", {}), sizes=(6, 6))
    trainer = tried.build()
    trainer.engine.begin_epoch((0, 1), 0, fresh=True)
    uplink = trainer.engine.forward(0)
    context = StepContext(0, 1, 0, 2, torch.default_generator, data_sizes=(6, 6))  # type: ignore[arg-type]
    trainer.server.gradients(uplink, context)
    assert trainer.server.work == ServerWork(6, 0, 0, 6)


def test_a_checkpoint_that_does_not_know_it_counts_each_sample_once(case) -> None:
    tried = case(make("cyclesl", {}), sizes=(6, 6), epochs=1)
    trainer, (lower, _) = tried.run(), tried.segments()
    older = {name: tensor for name, tensor in trainer.server.state().items() if name != "work"}
    trainer.server.restore(older)
    assert trainer.server.work is None
    assert "work" not in trainer.server.state()
    counted = count_training(trainer, lower(0), (INPUTS,))
    assert counted.server_flops == 12 * (FORWARD + BACKWARD)


def test_a_run_counts_the_whole_training_though_the_best_epoch_is_tested() -> None:
    """Validation is best in some epoch; the summary is of all."""
    settings = {
        "dataset": "digits",
        "clients": 2,
        "samples_per_client": 32,
        "epochs": 4,
        "threads": 1,
        "validation": 40,
    }
    summary = sglr.train("cyclesl", **settings, lr=0.5, optimizer="sgd").summary
    assert summary is not None
    trained = 4 * 2 * 32
    samples = {"forward": 2 * trained, "backward": 0, "to_weights": trained, "to_inputs": trained}
    assert summary["computation"]["server_samples"] == samples
