"""Counted bytes and messages are those of the closed form, worked out here from shapes and documented draws alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import covering

import sglr
from sglr.core.errors import Interrupted
from sglr.core.events import EpochDone, Event, StepDone, Traffic
from sglr.core.method import Method
from sglr.core.random import generator
from sglr.core.trainer import Hooks, Trainer
from sglr.cost import closed_forms
from sglr.cost.communication import LINES, Ledger
from sglr.cost.paper_view import paper_view

# The networks of tests/conftest.py: 3 numbers at the cut, 15 weights at the client and 24 at the server, 4 bytes each;
# a label has 8. Five epochs, so that "first:0.4" are the first two.
CUT, LABEL, CLIENT, WHOLE = 3 * 4, 8, 15 * 4, (15 + 24) * 4
EPOCHS, SEED = 5, 3


class Setup(NamedTuple):
    """A training and what it does in the terms of the law."""

    method: Method
    averaging: range = range(0)  # epochs with SplitAvg
    weights: int = 0  # bytes of the weights that are shared
    round: int = 1  # epochs between two exchanges of weights
    every: int = 10**9  # steps between two exchanges of weights
    one_by_one: bool = False


def averaging(kind: type[Any], phi: float, average: str, phase: str = "all") -> Setup:
    return Setup(kind(phi=phi, average=average, phase=phase), range(2 if phase == "first:0.4" else EPOCHS))


SETUPS = {
    "psl": Setup(sglr.PSL()),
    "slr": Setup(sglr.SLR()),
    "sfl": Setup(sglr.SFL(), weights=CLIENT),
    "sfl, every second step": Setup(sglr.SFL(average_every=2), weights=CLIENT, every=2),
    "sflv1": Setup(sglr.SFLV1(), weights=CLIENT),
    "sflv2": Setup(sglr.SFLV2(), weights=CLIENT),
    "cyclesl": Setup(sglr.CycleSL()),
    "cyclesl, averages": Setup(sglr.CycleSL(phi=0.5), range(EPOCHS)),
    "minibatch-sfl": Setup(sglr.MiniBatchSFL(), weights=CLIENT),
    "mergesfl": Setup(sglr.MergeSFL(), weights=CLIENT),
    "gpsl": Setup(sglr.GPSL()),
    "scala": Setup(sglr.SCALA(), weights=CLIENT),
    "psl, merged every second step": Setup(sglr.PSL().merging("2"), weights=CLIENT, every=2),
    "gas": Setup(sglr.GAS(), weights=CLIENT),
    "mix2sfl": Setup(sglr.Mix2SFL(phi=0.5), range(EPOCHS), weights=CLIENT),
    "locfedmix-sl": Setup(sglr.LocFedMixSL(), weights=CLIENT),
    "epsl": Setup(sglr.EPSL(0.5)),
    "epsl, a third": Setup(sglr.EPSL(1 / 3)),
    "epsl, whole batches": Setup(sglr.EPSL(1.0)),
    "ssl": Setup(sglr.SSL(), weights=CLIENT, one_by_one=True),
    "fl": Setup(sglr.FL(), weights=WHOLE),
    "fl, rounds of two": Setup(sglr.FL(local_epochs=2), weights=WHOLE, round=2),
    "sgl, off": Setup(sglr.SGL(phi=0.0)),
    "sgl": averaging(sglr.SGL, 0.75, "position"),
    "sgl, class": averaging(sglr.SGL, 0.75, "class"),
    "sgl, phase": averaging(sglr.SGL, 1.0, "position", "first:0.4"),
    "sglr": averaging(sglr.SGLR, 0.5, "position"),
    "sglr2": Setup(sglr.SGLR2(phi=0.5), range(EPOCHS)),
    "sglr, class": averaging(sglr.SGLR, 0.5, "class"),
    "sglr, class, phase": averaging(sglr.SGLR, 1.0, "class", "first:0.4"),
}
SIZES = {"equal": (6, 6, 6, 6), "partial last batches": (7, 7, 7, 7), "unequal": (11, 4, 5, 2)}
every_setup = pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS.keys())


class Law:
    """What a training must send: every message's bytes, by step, kind, direction and client."""

    def __init__(self, setup: Setup, training: Any, trainer: Trainer, cut: int = CUT) -> None:
        self.setup, self.training, self.trainer, self.cut = setup, training, trainer, cut
        self.data = training.clients()
        self.messages: Counter[tuple[str, bool, int]] = Counter()  # by kind, up, client
        self.bytes: Counter[tuple[str, bool, int]] = Counter()
        self.once: Counter[tuple[str, bool]] = Counter()  # bytes, where a message to several goes once
        self.once_messages: Counter[tuple[str, bool]] = Counter()
        self.by_step = [0]  # point to point; the last is running
        self.by_epoch: list[int] = []
        for epoch in range(EPOCHS):
            before = sum(self.bytes.values())
            self._epoch(epoch)
            self.by_epoch.append(sum(self.bytes.values()) - before)

    def _epoch(self, epoch: int) -> None:
        present = self.trainer.participants(epoch)
        for cohort in [(one,) for one in present] if self.setup.one_by_one else [present]:
            steps = -(-max(self.training.sizes[one] for one in cohort) // self.training.batch)
            for step in range(steps):
                if step == 0 and epoch % self.setup.round == 0:
                    self._weights(cohort, up=False)
                if self.setup.weights != WHOLE:
                    self._exchange(epoch, step, dict(self._batches(cohort, epoch, step)))
                last = step + 1 == steps
                if last and ((epoch + 1) % self.setup.round == 0 or epoch + 1 == EPOCHS):
                    self._weights(cohort, up=True)
                elif not last and (step + 1) % self.setup.every == 0:
                    self._weights(cohort, up=True)
                    self._weights(cohort, up=False)
                self.by_step.append(0)

    def _batches(self, cohort: tuple[int, ...], epoch: int, step: int) -> Iterator[tuple[int, list[int]]]:
        """Labels of every client's batch in this step: client i's n-th sample in the order of its key."""
        for client in cohort:
            order = generator(SEED, "order", client, epoch).permutation(self.data.indices[client].numpy())
            rows = order[step * self.training.batch :][: self.training.batch]
            if len(rows):
                yield client, self.data.train.targets[torch.from_numpy(rows)].tolist()

    def _exchange(self, epoch: int, step: int, labels: dict[int, list[int]]) -> None:
        for client, batch in labels.items():
            self._send("smashed", True, client, len(batch) * self.cut)
            self._send("labels", True, client, len(batch) * LABEL)
        if isinstance(self.setup.method, sglr.EPSL):
            self._first_samples(labels, self.setup.method.averaged_share)
            return
        active = self._active(epoch, step, list(labels))
        for client, batch in labels.items():
            kind = "average" if client in active else "gradients"
            self._send(kind, False, client, len(batch) * self.cut, alone=client not in active)
        if active:
            different = {
                "position": max(len(labels[client]) for client in active),
                "class": len({label for client in active for label in labels[client]}),
            }
            self._once("average", False, different[getattr(self.setup.method, "average", "position")] * self.cut)

    def _first_samples(self, labels: dict[int, list[int]], share: float) -> None:
        """Send gradients of EPSL: those of every client's first samples are one for all."""
        first = ceil(share * max(map(len, labels.values()))) if len(labels) > 1 else 0
        first = 0 if max(map(len, labels.values())) == 1 else first
        for client, batch in labels.items():
            if first:
                self._send("average", False, client, min(first, len(batch)) * self.cut, alone=False)
            if len(batch) > first:
                self._send("gradients", False, client, (len(batch) - first) * self.cut)
        if first:
            self._once("average", False, first * self.cut)

    def _active(self, epoch: int, step: int, present: list[int]) -> list[int]:
        if epoch not in self.setup.averaging:
            return []
        number = int(self.setup.method.phi * len(present) + 0.5)
        chosen = generator(SEED, "step", epoch, 0, step).choice(len(present), size=number, replace=False)
        return [present[row] for row in chosen] if number > 1 else []

    def _weights(self, cohort: tuple[int, ...], *, up: bool) -> None:
        if self.setup.weights:
            for client in cohort:
                self._send("weights", up, client, self.setup.weights, alone=up)
            if not up:
                self._once("weights", up, self.setup.weights)

    def _send(self, kind: str, up: bool, client: int, size: int, *, alone: bool = True) -> None:
        self.messages[kind, up, client] += 1
        self.bytes[kind, up, client] += size
        self.by_step[-1] += size
        if alone:
            self._once(kind, up, size)

    def _once(self, kind: str, up: bool, size: int) -> None:
        self.once[kind, up] += size
        self.once_messages[kind, up] += 1


def train(
    case: Any,
    setup: Setup,
    sizes: tuple[int, ...],
    participation: float = 1.0,
    batch: int = 3,
    compression: str = "none",
    cut: int = CUT,
) -> Any:
    """Train with a ledger; return it, the law and the trainer."""
    ledger = Ledger(len(sizes))
    training = case(
        setup.method,
        sizes=sizes,
        epochs=EPOCHS,
        batch=batch,
        participation=participation,
        seed=SEED,
        rate=0.01,
        compression=compression,
    )
    training.hooks = Hooks(observe=ledger)
    trainer = training.run()
    return ledger, Law(setup, training, trainer, cut), trainer


def check(ledger: Ledger, law: Law) -> None:
    """Compare all counts with the law, to the last byte."""
    clients = range(len(law.training.sizes))
    for found, wanted in ((ledger.client_bytes(), law.bytes), (ledger.client_messages(), law.messages)):
        assert found.tolist() == [[wanted[kind, up, client] for client in clients] for kind, up in LINES]
    summary = ledger.summary(paper={})
    by_direction = {up: sum(size for line, size in law.bytes.items() if line[1] == up) for up in (True, False)}
    assert (summary["up_bytes"], summary["down_bytes"]) == (by_direction[True], by_direction[False])
    views = summary["views"]
    assert views["point_to_point"]["total_bytes"] == sum(law.bytes.values())
    assert views["point_to_point"]["messages"] == sum(law.messages.values())
    assert views["broadcast"]["total_bytes"] == sum(law.once.values())
    assert views["broadcast"]["messages"] == sum(law.once_messages.values())
    for direction in (True, False):
        name = "up_bytes" if direction else "down_bytes"
        assert views["broadcast"][name] == sum(size for (_, up), size in law.once.items() if up == direction)
    steps = law.by_step[:-1]
    assert summary["per_step_bytes"]["max"] == max(steps)
    assert summary["per_step_bytes"]["mean"] == sum(steps) / len(steps)
    assert views["point_to_point"]["per_epoch_bytes"] == sum(law.by_epoch) / EPOCHS
    assert views["point_to_point"]["most_epoch_bytes"] == max(law.by_epoch)


# Exactness.


@covering(setup=SETUPS, sizes=SIZES, participation=[1.0, 0.5])
def test_counted_bytes_are_those_of_the_closed_form(case, setup: Setup, sizes, participation: float) -> None:
    ledger, law, _ = train(case, setup, sizes, participation)
    check(ledger, law)


# A sample is three numbers: 2 bytes each, and a scale of 4; a byte each, or half or a quarter of one,
# and a scale and a zero; one with its place.
@covering(
    compression_and_cut=[
        ("bf16", 6),
        ("fp16", 10),
        ("int8", 8),
        ("int8:feedback=true", 8),
        ("int4", 7),
        ("int2", 4),
        ("topk:0.4", 8),
    ],
    name=["psl", "sgl", "sgl, class", "ssl"],
)
def test_counted_bytes_are_those_after_compression(case, compression_and_cut: tuple[str, int], name: str) -> None:
    compression, cut = compression_and_cut
    ledger, law, _ = train(case, SETUPS[name], SIZES["unequal"], compression=compression, cut=cut)
    check(ledger, law)
    assert ledger.sample_bytes == cut


@settings(max_examples=8)
@given(
    setup=st.sampled_from(list(SETUPS.values())),
    sizes=st.lists(st.integers(1, 8), min_size=2, max_size=6).map(tuple),
    participation=st.sampled_from([0.3, 0.7, 1.0]),
    batch=st.integers(1, 4),
)
def test_counted_bytes_are_those_of_the_closed_form_for_any_sizes(case, setup, sizes, participation, batch) -> None:
    ledger, law, _ = train(case, setup, sizes, participation, batch)
    check(ledger, law)


def test_centralized_training_sends_nothing(case) -> None:
    ledger = Ledger(1)
    case(sglr.CL(), hooks=Hooks(observe=ledger)).run()
    summary = ledger.summary(paper={})
    assert (summary["up_bytes"], summary["down_bytes"], summary["by_kind"]) == (0, 0, {"up": {}, "down": {}})
    assert summary["views"]["broadcast"]["total_bytes"] == 0


ROWS = ["psl", "slr", "sfl", "fl", "sgl", "sglr", "mix2sfl", "epsl, whole batches", "epsl, a third"]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("view", ["broadcast", "point_to_point"])
def test_with_equal_whole_batches_both_views_are_the_closed_forms_of_the_planner(case, name: str, view: str) -> None:
    """|C| = 4, φ|C| whole; labels, which the forms leave out, come on top."""
    ledger, law, _ = train(case, SETUPS[name], SIZES["equal"])
    sizes = closed_forms.Sizes(clients=4, samples=24, cut=CUT, model=WHOLE, client=CLIENT)
    method = law.setup.method
    phi = getattr(method, "averaged_share", getattr(method, "phi", 0.0))
    form = getattr(closed_forms, view)(name.partition(",")[0], sizes, phi)
    summary = ledger.summary(paper={})
    counted = summary["views"][view]["total_bytes"]
    assert summary["labels_bytes"] == (0 if name == "fl" else EPOCHS * 24 * LABEL)
    assert counted == EPOCHS * form.total + summary["labels_bytes"]
    assert summary["views"][view]["per_client_bytes"]["mean"] == counted / 4


# What holds between the views.


@every_setup
def test_clients_add_up_to_the_total_in_both_views(case, setup: Setup) -> None:
    ledger, _, _ = train(case, setup, SIZES["unequal"])
    views = ledger.summary(paper={})["views"]
    for view in ("broadcast", "point_to_point"):
        each = ledger.client_bytes(view).sum(0)
        assert each.sum() == pytest.approx(views[view]["total_bytes"], rel=1e-12)
        assert views[view]["per_client_bytes"]["max"] == each.max()
    assert views["broadcast"]["total_bytes"] <= views["point_to_point"]["total_bytes"]
    assert views["broadcast"]["up_bytes"] == views["point_to_point"]["up_bytes"]


@pytest.mark.parametrize("phi", [0.5, 0.75, 1.0])
def test_the_paper_says_less_than_a_broadcast_carries(case, phi: float) -> None:
    """It counts one sample's average an epoch, where every step sends one of a batch; labels aside."""
    setup = averaging(sglr.SGLR, phi, "position")
    ledger, _, trainer = train(case, setup, SIZES["equal"])
    summary = ledger.summary(paper_view("sglr", trainer, ledger.sample_bytes))
    views, labels = summary["views"], summary["labels_bytes"]
    counted = views["broadcast"]["total_bytes"] - labels
    assert views["paper"]["total_bytes"] < counted < views["point_to_point"]["total_bytes"] - labels
    # Two steps of three samples an epoch, instead of one sample.
    assert counted - views["paper"]["total_bytes"] == EPOCHS * (2 * 3 - 1) * CUT


def test_an_average_for_two_is_charged_to_them_in_halves() -> None:
    ledger = Ledger(3)
    ledger(Traffic("average", False, (0, 2), np.array([40, 20]), broadcast=40))
    average = LINES.index(("average", False))
    assert ledger.client_bytes("broadcast")[average].tolist() == [20, 0, 20]
    assert ledger.client_bytes("point_to_point")[average].tolist() == [40, 0, 20]
    assert (ledger.down_bytes, ledger.broadcast_down_bytes) == (60, 40)


# Steps and epochs.


def test_a_steps_bytes_by_kind() -> None:
    """What is sent before a step is counted in it; the mean is over all steps, those without the kind too."""
    ledger = Ledger(2)
    for size in (10, 40):
        ledger(Traffic("weights", False, (0, 1), np.array([size, size]), broadcast=size))
        for own in (1, 3):
            ledger(Traffic("smashed", True, (0, 1), np.array([own, 2 * own])))
            ledger(StepDone(0, 2, 1, 2, 2))
        ledger(EpochDone(0, 2, {}))
    summary = ledger.summary(paper={})
    assert summary["per_step_bytes"] == {
        "mean": (20 + 80 + 2 * (3 + 9)) / 4,
        "max": 80 + 3,
        "by_kind": {
            "up": {"smashed": {"mean": (3 + 9 + 3 + 9) / 4, "max": 9}},
            "down": {"weights": {"mean": (20 + 80) / 4, "max": 80}},
        },
    }
    assert summary["per_epoch"] == {"up_bytes": 12, "down_bytes": 50}
    broadcast = summary["views"]["broadcast"]
    assert broadcast["per_step_bytes"] == {"mean": (10 + 40 + 24) / 4, "max": 43}
    assert (broadcast["per_epoch_bytes"], broadcast["most_epoch_bytes"]) == ((50 + 24) / 2, 40 + 12)


# What goes one after another.


def test_clients_of_a_step_send_at_once_and_steps_one_after_another() -> None:
    ledger = Ledger(2)
    for first, second in ((10, 4), (3, 5)):
        ledger(Traffic("smashed", True, (0, 1), np.array([first, second])))
        ledger(Traffic("labels", True, (0, 1), np.array([1, 1])))
        ledger(Traffic("gradients", False, (0, 1), np.array([first, second])))
        ledger(StepDone(0, 2, 1, 2, 2))
    assert ledger.summary(paper={})["in_turn"] == {"bytes": 21 + 11, "messages": 4}
    ledger(Traffic("weights", True, (1,), np.array([7])))
    assert ledger.summary(paper={})["in_turn"] == {"bytes": 21 + 11 + 7, "messages": 5}


@every_setup
def test_what_goes_one_after_another_is_that_of_the_longest_client(case, setup: Setup) -> None:
    ledger, law, _ = train(case, setup, SIZES["equal"])
    in_turn = ledger.summary(paper={})["in_turn"]
    at_once = 1 if setup.one_by_one else 4
    assert in_turn["bytes"] == sum(law.bytes.values()) / at_once
    passes = EPOCHS * 2 * 4 // at_once if setup.weights != WHOLE else 0
    merges = {each for line, each in law.messages.items() if line[0] == "weights"} or {0}
    assert in_turn["messages"] == 2 * passes + 2 * max(merges) * 4 // at_once


# Checkpoints.


def events_of(case: Any, setup: Setup) -> list[Event]:
    events: list[Event] = []
    case(setup.method, sizes=SIZES["unequal"], epochs=EPOCHS, seed=SEED, hooks=Hooks(observe=events.append)).run()
    return events


@pytest.mark.parametrize("name", ["sglr, class, phase", "sfl, every second step", "ssl"])
def test_a_ledger_that_is_taken_up_at_any_step_ends_the_same(case, name: str) -> None:
    events = events_of(case, SETUPS[name])
    whole = Ledger(4)
    for event in events:
        whole(event)
    ends = [place + 1 for place, event in enumerate(events) if isinstance(event, StepDone | EpochDone)]
    for end in ends[::3]:
        first, second = Ledger(4), Ledger(4)
        for event in events[:end]:
            first(event)
        second.restore(json.loads(json.dumps(first.state())), first.tensors())
        for event in events[end:]:
            second(event)
        assert second.summary(paper={}) == whole.summary(paper={})
        assert (second.client_bytes() == whole.client_bytes()).all()
        assert (second.client_bytes("broadcast") == whole.client_bytes("broadcast")).all()
        assert (second.client_messages() == whole.client_messages()).all()


def of_six_kinds(state: dict[str, Any]) -> dict[str, Any]:
    """Return a ledger's state as versions wrote it that knew neither features nor gradients by them."""
    old = json.loads(json.dumps(state))
    for name in ("sent", "messages"):
        old[name] = [line[:6] for line in old[name]]
    for name in ("steps", "epochs"):
        over, running, most, together = old[name]
        old[name] = [over, [line[:6] for line in running], [line[:6] for line in most], together]
    return old


@pytest.mark.parametrize("name", ["sglr, class, phase", "sfl, every second step"])
def test_the_ledger_of_an_earlier_version_is_taken_up_in_the_midst_of_an_epoch(case, name: str) -> None:
    events = events_of(case, SETUPS[name])
    whole, first, second = Ledger(4), Ledger(4), Ledger(4)
    middle = [place + 1 for place, event in enumerate(events) if isinstance(event, StepDone)][3]
    for event in events:
        whole(event)
    for event in events[:middle]:
        first(event)
    old = first.tensors()
    counts = ("ledger.bytes", "ledger.shares", "ledger.messages")
    # They wrote all six lines, of kinds that nobody sent too.
    old |= {count: torch.nn.functional.pad(old[count], (0, 0, 0, 6 - len(old[count]))) for count in counts}
    # What was there before is forgotten.
    second(Traffic("features", False, (2,), np.array([99])))
    second.restore(of_six_kinds(first.state()), old)
    assert second.state() == first.state()
    for event in events[middle:]:
        second(event)
    assert second.summary(paper={}) == whole.summary(paper={})
    assert (second.client_bytes() == whole.client_bytes()).all()
    assert (second.client_messages() == whole.client_messages()).all()


def test_a_run_that_is_stopped_and_resumed_has_the_same_ledger(tmp_path) -> None:
    wanted: dict[str, Any] = {"clients": 3, "samples_per_client": 30, "batch_size": 7, "epochs": 3, "model": "mlp"}
    wanted |= {"method": sglr.SGLR(phi=1.0, average="class", phase="first:0.4"), "participation": 0.7, "eval_every": 3}
    whole = sglr.train(out=tmp_path / "whole", **wanted)
    over: list[Event] = []
    with pytest.raises(Interrupted):
        sglr.train(
            out=tmp_path / "stopped",
            observe=lambda event: over.append(event) if isinstance(event, StepDone) else None,
            stop=lambda: len(over) >= 7,  # the second step of the second epoch
            **wanted,
        )
    again = sglr.resume(tmp_path / "stopped")
    assert again.summary["communication"] == whole.summary["communication"]
    columns = ("up_bytes", "down_bytes", "broadcast_down_bytes")
    assert [[row[name] for name in columns] for row in again.history] == [
        [row[name] for name in columns] for row in whole.history
    ]


def test_measurements_tell_bytes_so_far(tmp_path) -> None:
    run = sglr.train("sglr", out=tmp_path / "run", clients=4, samples_per_client=24, epochs=2, model="mlp", phi=0.5)
    found = run.summary["communication"]
    last = run.history[-1]
    assert (last["up_bytes"], last["down_bytes"]) == (found["up_bytes"], found["down_bytes"])
    assert last["broadcast_down_bytes"] == found["views"]["broadcast"]["down_bytes"] < last["down_bytes"]
    totals = [row["broadcast_down_bytes"] for row in run.history]
    assert totals == list(accumulate([totals[0]] * 2))  # epochs alike


def test_a_hundred_thousand_clients_take_megabytes_and_no_longer_state() -> None:
    many, few = Ledger(100_000), Ledger(2)
    for ledger, clients in ((many, 100_000), (few, 2)):
        ledger(Traffic("smashed", True, tuple(range(clients)), np.full(clients, 10)))
        ledger(StepDone(0, 1, 1, 1, clients))
    assert many.up_bytes == 1_000_000
    assert many.sample_bytes == few.sample_bytes == 10
    assert sum(tensor.nbytes for tensor in many.tensors().values()) <= 150 * 100_000
    assert len(json.dumps(many.state())) < len(json.dumps(few.state())) + 100
