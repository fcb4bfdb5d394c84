"""The training loop: who takes part, what is reported, what crosses the network, and when it stops."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sglr.core.errors import DivergedError, Interrupted
from sglr.core.events import EpochDone, Event, Hooks, StepDone, Traffic
from sglr.core.registry import METHODS
from sglr.methods.fl import FL
from sglr.methods.psl import PSL
from sglr.methods.sfl import SFL
from sglr.methods.slr import SLR
from sglr.methods.ssl import SSL

# Participants.


@settings(max_examples=10)
@given(st.integers(1, 12), st.floats(0.01, 1), st.integers(0, 20), st.integers(0, 2**31))
def test_a_share_of_the_clients_takes_part_and_at_least_one(case, clients, share, epoch, seed) -> None:
    trainer = case(PSL(), sizes=(1,) * clients, participation=share, seed=seed).build()
    present = trainer.participants(epoch)
    assert len(present) == max(1, round(share * clients))
    assert list(present) == sorted(set(present))
    assert set(present) <= set(range(clients))
    assert present == case(PSL(), sizes=(1,) * clients, participation=share, seed=seed).build().participants(epoch)


def test_participants_change_from_round_to_round_and_everyone_has_a_turn(case) -> None:
    trainer = case(PSL(), sizes=(1,) * 8, participation=0.5).build()
    rounds = [trainer.participants(epoch) for epoch in range(40)]
    assert len(set(rounds)) > 20
    turns = Counter(client for present in rounds for client in present)
    # 20 turns each on average, with a standard deviation of 3.
    assert all(8 < turns[client] < 32 for client in range(8))


def test_participants_stay_through_all_local_epochs_of_a_round(case) -> None:
    trainer = case(FL(local_epochs=3), sizes=(1,) * 8, participation=0.5).build()
    rounds = [trainer.participants(epoch) for epoch in range(9)]
    assert rounds[0] == rounds[1] == rounds[2] != rounds[3]
    assert rounds[3] == rounds[4] == rounds[5] != rounds[6]


# Events.


def test_steps_are_reported_with_their_samples(case, events) -> None:
    case(PSL(), sizes=(5, 2), batch=2, epochs=2, hooks=Hooks(observe=events.append)).run()
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [(event.epoch, event.step, event.samples) for event in steps] == [
        (epoch, step, samples) for epoch in range(2) for step, samples in ((1, 4), (2, 2), (3, 1))
    ]
    assert {(event.epochs, event.steps) for event in steps} == {(2, 3)}


def test_an_epochs_record_has_its_measurements(case, events) -> None:
    training = case(PSL(), sizes=(6, 6), epochs=5, rate=0.5, schedule="step", validate=True)
    training.hooks = Hooks(observe=events.append)
    trainer = training.run()
    records = [event.record for event in events if isinstance(event, EpochDone)]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4, 5]
    assert [record["learning_rate"] for record in records] == pytest.approx([0.5] * 4 + [0.05])
    assert [record["steps"] for record in records] == [2, 4, 6, 8, 10]
    assert [record["samples"] for record in records] == [12, 24, 36, 48, 60]
    assert all(0 <= record["train_accuracy"] <= 1 and record["loss"] > 0 for record in records)
    assert records[0]["seconds"] <= records[1]["seconds"]
    scores = trainer.evaluate(training.clients().validation)
    assert records[-1]["validation_accuracy"] == scores.mean("accuracy")
    assert records[-1]["validation_accuracy_std_over_clients"] == scores.std("accuracy")
    assert records[-1]["validation_loss"] == scores.mean("loss")


def test_each_epoch_has_a_loss_of_its_own(case, events) -> None:
    """At a rate of zero nothing is learned, so that every epoch has the loss of the first weights."""
    case(PSL(), sizes=(6, 4), epochs=3, rate=0.0, hooks=Hooks(observe=events.append)).run()
    losses = [event.record["loss"] for event in events if isinstance(event, EpochDone)]
    assert losses == pytest.approx([losses[0]] * 3)


def test_validation_is_every_so_many_epochs_and_at_the_end(case, events) -> None:
    trainer = case(PSL(), epochs=5, validate=True, hooks=Hooks(observe=events.append)).build()
    trainer.plan = replace(trainer.plan, evaluate_every=2)
    trainer.run()
    records = [event.record for event in events if isinstance(event, EpochDone)]
    assert [record["epoch"] for record in records if "validation_loss" in record] == [2, 4, 5]


def test_the_best_validated_epoch_is_saved_as_such(case, events) -> None:
    saved: list[bool] = []
    training = case(PSL(), epochs=8, rate=0.5, validate=True)
    training.hooks = Hooks(observe=events.append, save=saved.append)
    trainer = training.run()
    accuracies = [event.record["validation_accuracy"] for event in events if isinstance(event, EpochDone)]
    assert len(set(accuracies)) > 1, "the test saw no change"
    wanted = [all(accuracy > before for before in accuracies[:i]) for i, accuracy in enumerate(accuracies)]
    assert saved == wanted
    assert trainer.progress.best_score == max(accuracies)
    assert trainer.progress.best_epoch == 1 + accuracies.index(max(accuracies))


def test_without_validation_nothing_is_best(case) -> None:
    saved: list[bool] = []
    trainer = case(PSL(), epochs=3, hooks=Hooks(save=saved.append)).run()
    assert saved == [False] * 3
    assert trainer.progress.best_epoch is None


# Traffic: 4 bytes a number, 8 a label or a count. At the cut are 3 numbers; a client segment 4 → 3 has 12 weights and
# 3 biases; the whole model with 3 → 3 → 3 after it has 24 more.

SMASHED, LABEL, CLIENT, WHOLE = 3 * 4, 8, 15 * 4, (15 + 24) * 4
SIZES, EPOCHS = (6, 2, 5), 3
SAMPLES = sum(SIZES)


def bytes_sent(case, method, **options) -> dict[tuple[str, bool], int]:
    total: Counter[tuple[str, bool]] = Counter()

    def add(event: Event) -> None:
        if isinstance(event, Traffic):
            total[event.kind, event.up] += int(event.sizes.sum())

    case(method, sizes=SIZES, epochs=EPOCHS, hooks=Hooks(observe=add), **options).run()
    return dict(total)


SPLIT = {
    ("smashed", True): EPOCHS * SAMPLES * SMASHED,
    ("labels", True): EPOCHS * SAMPLES * LABEL,
    ("gradients", False): EPOCHS * SAMPLES * SMASHED,
}
"""2|D|S(L) an epoch, and labels (Table 6, PSL)."""


def weights(number: int) -> dict[tuple[str, bool], int]:
    return {("weights", True): number, ("weights", False): number}


def test_centralized_training_sends_nothing(case) -> None:
    assert bytes_sent(case, METHODS.load("cl")()) == {}


def test_fl_sends_whole_models_both_ways_every_epoch(case) -> None:
    assert bytes_sent(case, FL()) == weights(EPOCHS * 3 * WHOLE)


def test_fl_sends_once_a_round(case) -> None:
    assert bytes_sent(case, FL(local_epochs=2)) == weights(2 * 3 * WHOLE)


@pytest.mark.parametrize("name", ["psl", "slr"])
def test_parallel_methods_send_smashed_data_labels_and_gradients(case, name: str) -> None:
    assert bytes_sent(case, METHODS.load(name)()) == SPLIT


@pytest.mark.parametrize("name", ["sgl", "sglr"])
def test_averaging_gradients_sends_as_many_over_point_to_point_links(case, name: str) -> None:
    found = bytes_sent(case, METHODS.load(name)())
    up = {key: value for key, value in found.items() if key[1]}
    down = sum(value for key, value in found.items() if not key[1])
    assert up == {key: value for key, value in SPLIT.items() if key[1]}
    assert down == SPLIT["gradients", False]


@pytest.mark.parametrize("name", ["sfl", "ssl", "sflv1", "sflv2"])
def test_sharing_methods_send_client_segments_both_ways_besides(case, name: str) -> None:
    """2|C|S(w_c) an epoch more than PSL (Table 6, SFL); a segment that is handed on goes through the server too."""
    assert bytes_sent(case, METHODS.load(name)()) == SPLIT | weights(EPOCHS * 3 * CLIENT)


def test_averaging_every_step_sends_segments_every_step(case) -> None:
    # Batches of three: two steps an epoch.
    assert bytes_sent(case, SFL(average_every=1)) == SPLIT | weights(EPOCHS * 2 * 3 * CLIENT)


def test_only_those_present_send(case) -> None:
    assert bytes_sent(case, FL(), participation=0.67) == weights(EPOCHS * 2 * WHOLE)


def test_buffers_travel_with_weights(case) -> None:
    # No bias (12 weights) but BatchNorm: 3 scales, 3 shifts, 6 statistics and a count.
    segment = (12 + 3 + 3 + 6) * 4 + 8
    found = bytes_sent(case, SFL(), norm=True, batch=6)
    assert found["weights", True] == found["weights", False] == EPOCHS * 3 * segment


def test_each_clients_bytes_are_its_own(case, events) -> None:
    case(PSL(), sizes=(5, 2), batch=3, epochs=1, hooks=Hooks(observe=events.append)).run()
    sent = [event for event in events if isinstance(event, Traffic) and event.kind == "smashed"]
    assert [(event.clients, event.sizes.tolist()) for event in sent] == [
        ((0, 1), [3 * SMASHED, 2 * SMASHED]),
        ((0,), [2 * SMASHED]),
    ]
    assert all(event.sizes.dtype == np.int64 for event in sent)


# Divergence.


def test_a_loss_that_is_no_number_stops_naming_step_rates_and_checkpoint(case) -> None:
    """At a rate of 1e30 the first step is finite, and the second multiplies two weights beyond float32."""
    steps: list[StepDone] = []
    saved: list[bool] = []
    training = case(SLR(alpha=1.0), sizes=(6, 6), rate=1e30, server_rate=2e30, lower=lambda _: torch.nn.Linear(4, 3))
    training.upper = torch.nn.Linear(3, 3)
    training.hooks = Hooks(
        observe=lambda event: steps.append(event) if isinstance(event, StepDone) else None,
        save=saved.append,
        last_checkpoint=lambda: "step-000000007.safetensors",
    )
    with pytest.raises(DivergedError) as raised:
        training.run()
    message = str(raised.value)
    assert "the loss stopped being a number in epoch 1, step 2 (method SLR(alpha=1.0), " in message
    assert "clients' rate 1e+30, server's rate 4e+30)" in message
    assert "lower the rate or alpha, or clip gradients; " in message
    assert message.endswith("last good checkpoint: step-000000007.safetensors")
    assert "\n" not in message
    assert len(steps) == 2
    assert saved == []


@pytest.mark.parametrize("checkpoint_every", [0, 3])
def test_looking_seldom_still_names_the_first_bad_step_and_saves_nothing_bad(case, checkpoint_every: int) -> None:
    saved: list[int] = []
    training = case(PSL(), sizes=(12, 12), rate=1e30, check_every=100, checkpoint_every=checkpoint_every)
    training.lower, training.upper = lambda _: torch.nn.Linear(4, 3), torch.nn.Linear(3, 3)
    trainer = training.build()
    trainer.hooks = Hooks(save=lambda _: saved.append(trainer.progress.steps))
    with pytest.raises(DivergedError, match=r"epoch 1, step 2 "):
        trainer.run()
    assert trainer.progress.steps == (checkpoint_every or 4)
    assert saved == []


def test_the_step_is_counted_over_all_clients_where_they_train_one_by_one(case) -> None:
    training = case(SSL(), sizes=(3, 3, 3), rate=1e30, lower=lambda _: torch.nn.Linear(4, 3))
    training.upper = torch.nn.Linear(3, 3)
    with pytest.raises(DivergedError, match=r"epoch 1, step 2 "):
        training.run()


# Stopping and checkpoints.


def test_a_user_who_stops_gets_a_checkpoint_first(case) -> None:
    saved: list[tuple[int, bool]] = []
    trainer = case(PSL(), sizes=(12, 12)).build()
    trainer.hooks = Hooks(
        save=lambda best: saved.append((trainer.progress.steps, best)), stop=lambda: trainer.progress.steps == 3
    )
    with pytest.raises(Interrupted, match=r"^stopped in epoch 1 after step 3$"):
        trainer.run()
    assert saved == [(3, False)]


def test_stopping_between_epochs(case) -> None:
    ended: list[Event] = []
    training = case(PSL(), epochs=3, validate=True)
    training.hooks = Hooks(
        observe=lambda event: ended.append(event) if isinstance(event, EpochDone) else None, stop=lambda: bool(ended)
    )
    with pytest.raises(Interrupted, match=r"^stopped after epoch 1$"):
        training.run()


def test_a_stop_at_the_very_end_finds_the_run_finished(case) -> None:
    ended: list[Event] = []
    training = case(PSL(), epochs=1)
    training.hooks = Hooks(
        observe=lambda event: ended.append(event) if isinstance(event, EpochDone) else None, stop=lambda: bool(ended)
    )
    training.run()


@pytest.mark.parametrize(("every", "steps"), [(0, [4, 8]), (3, [3, 4, 6, 8]), (4, [4, 4, 8, 8])])
def test_checkpoints_every_so_many_steps_and_after_every_epoch(case, every: int, steps: list[int]) -> None:
    saved: list[int] = []
    trainer = case(PSL(), sizes=(12, 12), checkpoint_every=every).build()
    trainer.hooks = Hooks(save=lambda _: saved.append(trainer.progress.steps))
    trainer.run()
    assert saved == steps


# Evaluation.


def test_every_client_is_scored_or_as_many_as_asked(case) -> None:
    training = case(PSL(), sizes=(4,) * 7)
    trainer = training.run()
    test = training.clients().test
    everyone = trainer.evaluate(test)
    assert everyone.loss.shape == (7,)
    assert torch.equal(trainer.evaluate(test, 7).loss, everyone.loss)
    some = trainer.evaluate(test, 3)
    assert some.loss.shape == (3,)
    assert torch.equal(some.loss, trainer.evaluate(test, 3).loss)
    assert set(some.loss.tolist()) <= set(everyone.loss.tolist())


@pytest.mark.parametrize("name", ["fl", "sfl", "ssl", "sflv1", "sflv2"])
def test_shared_weights_are_scored_once_and_absent_clients_stay_as_they_are(case, state_of, name: str) -> None:
    training = case(METHODS.load(name)(), sizes=(4,) * 4, participation=0.5, epochs=3, norm=True, batch=4)
    trainer = training.run()
    before = state_of(trainer)
    test = training.clients().test
    scores = trainer.evaluate(test)
    assert scores.loss.shape == (1,)
    lower, upper = training.segments()
    segment = lower(0)
    segment.load_state_dict(trainer.shared)
    upper.load_state_dict(trainer.server.segment.state_dict())
    logits = torch.nn.Sequential(segment, upper).eval()(test.inputs).detach()
    assert scores.mean("loss") == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, test.targets)), abs=1e-5
    )
    assert scores.mean("accuracy") == pytest.approx(float((logits.argmax(1) == test.targets).float().mean()))
    after = state_of(trainer)
    assert all(torch.equal(before[key], tensor) for key, tensor in after.items())


def test_label_priors_are_for_training_only(case) -> None:
    """Scores are those of plain logits, whatever the priors."""
    training = case(PSL(), sizes=(6, 6), label_prior="own")
    trainer = training.run()
    trainer.server.loss.label_counts[:, 0] += 1000
    test = training.clients().test
    scores = trainer.evaluate(test)
    lower, upper = training.segments()
    upper.load_state_dict(trainer.server.segment.state_dict())
    for client in range(2):
        segment = lower(client)
        segment.load_state_dict({name: rows[0] for name, rows in trainer.engine.collect((client,)).items()})
        logits = torch.nn.Sequential(segment, upper).eval()(test.inputs).detach()
        loss = float(torch.nn.functional.cross_entropy(logits, test.targets))
        assert float(scores.loss[client]) == pytest.approx(loss, abs=1e-5)


# State.


def test_a_checkpoint_holds_tensors_named_by_their_owner(case, state_of) -> None:
    state = state_of(case(SFL(), optimizer="adam").run())
    assert {name.partition(".")[0] for name in state} == {"clients", "server", "shared"}
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())


def test_a_finished_run_that_is_resumed_changes_nothing(case, state_of) -> None:
    first = case(SFL(), optimizer="adam").run()
    saved = state_of(first)
    second = case(SFL(), optimizer="adam").build()
    second.restore(saved, replace(first.progress))
    second.run()
    assert all(torch.equal(saved[key], tensor) for key, tensor in state_of(second).items())
