"""The laws that every registered method obeys, built in or plugged in (docs/architecture.md).

A new method is tested here by being registered; it needs defaults for all its hyper-parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import assert_close, covering
from tests.some_methods import UNSPLIT, WITH_TAIL, make_method
from torch import Tensor, nn
from torch.nn import functional as F

from sglr.core.errors import Interrupted
from sglr.core.events import EpochDone, Event, StepDone
from sglr.core.method import Method
from sglr.core.optim import Plateau
from sglr.core.plan import Progress
from sglr.core.random import generator
from sglr.core.registry import METHODS
from sglr.core.trainer import Hooks, Trainer

every_method = pytest.mark.parametrize("name", METHODS.names())
NORM = {"plain": False, "batchnorm": True}

EQUAL, UNEQUAL = (8, 8, 8, 8), (11, 7, 3, 3)
"""Sizes of four clients; in batches of four, none is below three, as BatchNorm over two enlarges every rounding."""

SIZES = st.lists(st.sampled_from([2, 3, 5, 6, 8]), min_size=1, max_size=4)
"""Sizes of clients that leave no batch of one sample (of three), which BatchNorm refuses."""


def make(name: str) -> Method:
    return make_method(name)


def model_weights(trainer: Trainer, client: int = 0) -> dict[str, Tensor]:
    """Weights and buffers of the whole model as one client sees it, named as in Sequential(lower, upper)."""
    own = {name: tensor[0] for name, tensor in trainer.engine.collect((client,)).items()}
    if trainer.method.whole_model:
        return own
    lower = {f"0.{name}": tensor for name, tensor in own.items()}
    return lower | {f"1.{name}": tensor for name, tensor in trainer.server.segment.state_dict().items()}


# Law 1: with one client, every method takes the same steps as training the unsplit model.


@covering(name=UNSPLIT, norm=NORM, optimizer=["sgd:momentum=0.9", "adam"])
def test_one_client_trains_like_the_unsplit_model(case, name: str, norm: bool, optimizer: str) -> None:
    training = case(make(name), sizes=(8,), norm=norm, optimizer=optimizer, rate=0.05, seed=3)
    lower, upper = training.segments()
    model = lower(0) if training.method.whole_model else nn.Sequential(lower(0), deepcopy(upper))
    samples = training.clients().train
    build = {"sgd:momentum=0.9": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    plain = build(model.parameters(), lr=0.05, **({"momentum": 0.9} if "momentum" in optimizer else {}))
    for epoch in range(training.epochs):
        order = torch.from_numpy(generator(3, "order", 0, epoch).permutation(8))
        for batch in order.split(training.batch):
            plain.zero_grad()
            F.cross_entropy(model(samples.inputs[batch]), samples.targets[batch]).backward()
            plain.step()
    found = model_weights(training.run())
    assert_close(found, model.state_dict(), atol=1e-6)


ACCUMULATE = [name for name in METHODS.names() if METHODS.load(name).accumulates]


@pytest.mark.parametrize("name", [name for name in ACCUMULATE if name in UNSPLIT])
@pytest.mark.usefixtures("double")
def test_one_client_accumulates_like_the_unsplit_model(case, name: str) -> None:
    """Batches of 3 and 3, and of 3 and 2 samples: an update is on the mean of all samples since the one before."""
    training = case(make(name), sizes=(11,), norm=True, optimizer="adam", rate=0.05, seed=3, accumulate=2)
    lower, upper = training.segments()
    model = lower(0) if training.method.whole_model else nn.Sequential(lower(0), deepcopy(upper))
    samples, plain = training.clients().train, torch.optim.Adam(model.parameters(), lr=0.05)
    for epoch in range(training.epochs):
        order = torch.from_numpy(generator(3, "order", 0, epoch).permutation(11))
        for together in order.split(2 * training.batch):
            plain.zero_grad()
            for batch in together.split(training.batch):
                losses = F.cross_entropy(model(samples.inputs[batch]), samples.targets[batch], reduction="sum")
                (losses / len(together)).backward()
            plain.step()
    found = model_weights(training.run())
    assert_close(found, model.state_dict(), atol=1e-10)


@pytest.mark.usefixtures("double")
def test_clients_and_server_accumulate_by_samples_and_a_short_client_updates_after_its_last_batch(case) -> None:
    """Two steps an update: clients of five and two samples have batches of 2, 2, 1 and of 2."""
    training = case(make("psl"), sizes=(5, 2), batch=2, epochs=1, rate=0.5, accumulate=2)
    make_lower, upper = training.segments()
    lowers = [make_lower(client) for client in range(2)]
    samples = training.clients().train
    orders = [generator(0, "order", client, 0).permutation(rows) for client, rows in enumerate(([*range(5)], [5, 6]))]

    def losses(client: int, batches: slice) -> Tensor:
        rows = torch.from_numpy(orders[client][batches])
        return F.cross_entropy(upper(lowers[client](samples.inputs[rows])), samples.targets[rows], reduction="sum")

    def update(module: nn.Module, mean: Tensor) -> list[tuple[Tensor, Tensor]]:
        found = torch.autograd.grad(mean, list(module.parameters()), retain_graph=True)
        return list(zip(module.parameters(), found, strict=True))

    for batches, present in ((slice(0, 4), (0, 1)), (slice(4, 5), (0,))):
        own = {client: losses(client, batches) for client in present}
        counts = {client: len(orders[client][batches]) for client in present}
        steps = update(upper, sum(own.values()) / sum(counts.values()))
        steps += [step for client in present for step in update(lowers[client], own[client] / counts[client])]
        with torch.no_grad():
            for parameter, gradient in steps:
                parameter -= 0.5 * gradient
    trainer = training.run()
    for client, lower in enumerate(lowers):
        assert_close(model_weights(trainer, client), nn.Sequential(lower, upper).state_dict(), atol=1e-12)


@pytest.mark.parametrize("name", ["sfl", "sflv1"])
def test_merging_leaves_no_gradient_behind(case, state_of, name: str) -> None:
    """What is merged after every step is updated in every step."""
    options = {"sizes": (6, 6, 2), "optimizer": "adam"}
    if name == "sflv1":  # one step an epoch
        options["batch"] = 6
    method = METHODS.load(name)(**({"average_every": 1} if name == "sfl" else {}))
    plain, kept = (state_of(case(method, accumulate=steps, **options).run()) for steps in (1, 4))
    assert_identical(plain, kept)


# Law 2: where clients live makes no difference, to rounding.


@covering(
    name=METHODS.names(),
    sizes_and_participation={"equal": (EQUAL, 1.0), "unequal": (UNEQUAL, 1.0), "half-present": (UNEQUAL, 0.5)},
    norm=NORM,
)
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped(case, state_of, name, sizes_and_participation, norm) -> None:
    sizes, participation = sizes_and_participation
    # SGD with momentum, since Adam divides by the gradient's own size: where that is rounding noise, so is the step.
    stacked, looped = (
        state_of(
            case(
                make(name),
                sizes=sizes,
                batch=4,
                norm=norm,
                optimizer="sgd:momentum=0.9",
                participation=participation,
                stacking=stacking,
            ).run()
        )
        for stacking in ("stacked", "looped")
    )
    assert_close(stacked, looped, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("name", "tail"), [(name, False) for name in ACCUMULATE] + [("sglr", True), ("sflv1", True)])
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped_with_accumulation(case, state_of, name: str, tail: bool) -> None:
    options = {"sizes": (12, 6, 3, 5), "tail": tail, "participation": 0.7, "accumulate": 2}
    stacked, looped = (
        state_of(case(make(name), optimizer="sgd:momentum=0.9", norm=True, warmup=1.5, stacking=form, **options).run())
        for form in ("stacked", "looped")
    )
    assert_close(stacked, looped, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", ["psl", "sglr", "sfl", "splitgp", "locfedmix-sl"])
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped_with_gradients_of_steps_before(case, state_of, name: str) -> None:
    options = {"sizes": (12, 6, 3, 5), "ahead": 2, "delay_compensation": 0.5, "accumulate": 2}
    stacked, looped = (
        state_of(case(make(name), optimizer="sgd:momentum=0.9", norm=True, stacking=form, **options).run())
        for form in ("stacked", "looped")
    )
    assert_close(stacked, looped, atol=1e-10, rtol=1e-10)


@every_method
@pytest.mark.parametrize("tail", [False, True], ids=["", "tail"])
@pytest.mark.usefixtures("double")
def test_stacked_equals_looped_where_single_samples_join_the_batch_before(case, state_of, name, tail) -> None:
    if tail and name not in WITH_TAIL:
        pytest.skip("has no tail")
    sizes = (9, 5, 1, 8)  # in batches of four, with batch statistics: 4 + 5, 5, none, 4 + 4
    options = {
        "sizes": sizes,
        "batch": 4,
        "norm": True,
        "tail": tail,
        "optimizer": "sgd:momentum=0.9",
        "least_batch": 2,
    }
    stacked, looped = (case(make(name), stacking=form, **options).run() for form in ("stacked", "looped"))
    assert_close(state_of(stacked), state_of(looped), atol=1e-10, rtol=1e-10)
    assert stacked.progress.samples == 2 * (sum(sizes) - (not make(name).pooled))
    assert stacked.took_part() == ({0} if make(name).pooled else {0, 1, 3})


@every_method
@settings(max_examples=5)
@given(sizes=SIZES, seed=st.integers(0, 2**31))
def test_stacked_equals_looped_with_adam(case, state_of, name: str, sizes: list[int], seed: int) -> None:
    # A short run on smooth layers, whose gradients stay well above Adam's epsilon.
    stacked, looped = (
        state_of(case(make(name), sizes=sizes, optimizer="adam", rate=1e-3, stacking=stacking, seed=seed).run())
        for stacking in ("stacked", "looped")
    )
    assert_close(stacked, looped, atol=1e-4)


@pytest.mark.parametrize("compression", ["bf16", "fp16", "int8:feedback=true", "up=int4,down=topk:0.4,feedback=true"])
@pytest.mark.parametrize("name", ["psl", "sglr", "sfl"])
def test_stacked_equals_looped_with_compression(case, state_of, name: str, compression: str) -> None:
    """What is rounded may fall on either side of a step: with these seeds none does."""
    stacked, looped = (
        state_of(case(make(name), sizes=UNEQUAL, batch=4, compression=compression, stacking=stacking).run())
        for stacking in ("stacked", "looped")
    )
    assert_close(stacked, looped, atol=1e-6)


# Law 3: φ = 0 and α = 0 make SGLR exactly PSL, bit for bit.

OFF = [
    ("psl", {}, "sglr", {"alpha": 0.0, "phi": 0.0}),
    ("psl", {}, "slr", {"alpha": 0.0}),
    ("psl", {}, "sgl", {"phi": 0.0}),
    ("slr", {"alpha": 1.5}, "sglr", {"alpha": 1.5, "phi": 0.0}),
    ("sgl", {"phi": 0.5}, "sglr", {"alpha": 0.0, "phi": 0.5}),
]


@pytest.mark.parametrize(("plain", "own", "name", "options"), OFF, ids=["sglr", "slr", "sgl", "sglr-slr", "sglr-sgl"])
@given(sizes=SIZES, optimizer=st.sampled_from(["adam", "sgd:momentum=0.9"]), seed=st.integers(0, 2**31))
@settings(max_examples=8)
def test_switched_off_is_the_simpler_method_bit_for_bit(
    case, state_of, plain, own, name, options, sizes, optimizer, seed
) -> None:
    simple, switched_off = (
        state_of(case(METHODS.load(which)(**fields), sizes=sizes, optimizer=optimizer, seed=seed, norm=True).run())
        for which, fields in ((plain, own), (name, options))
    )
    assert_identical(simple, switched_off)


@pytest.mark.parametrize("compression", ["int8:feedback=true", "topk:0.4"])
def test_switched_off_is_the_simpler_method_with_compression_too(case, state_of, compression: str) -> None:
    simple, switched_off = (
        state_of(case(METHODS.load(which)(**fields), sizes=(8, 5, 2), compression=compression).run())
        for which, fields in (("psl", {}), ("sglr", {"alpha": 0.0, "phi": 0.0}))
    )
    assert_identical(simple, switched_off)


@pytest.mark.parametrize(
    ("name", "options"), [("slr", {"alpha": 1.0}), ("sgl", {"phi": 1.0}), ("sglr", {"alpha": 1.0, "phi": 1.0})]
)
def test_switched_on_is_another_method(case, state_of, name: str, options: dict[str, float]) -> None:
    plain = state_of(case(make("psl")).run())
    other = state_of(case(METHODS.load(name)(**options)).run())
    moved = "server.segment.weights.0.weight" if "alpha" in options else "clients.weights.0.weight"
    assert not torch.allclose(plain[moved], other[moved], atol=1e-4)


# Law 4: an absent client's weights and optimizer state do not move.

SEVERAL = [name for name in METHODS.names() if not METHODS.load(name).pooled]
several_clients = pytest.mark.parametrize("name", SEVERAL)


def row_of(trainer: Trainer, client: int) -> dict[str, Tensor]:
    """Copy a client's weights, buffers and optimizer state."""
    state = trainer.engine.state()
    row = {name: tensor[client].clone() for name, tensor in state.items() if name.startswith("weights.")}
    for name, tensor in state.items():
        head, _, entry = name.rpartition(".")
        rows = state.get(f"{head}.rows", torch.arange(len(tensor))).tolist()
        if name.startswith("optimizer.") and entry != "rows" and client in rows:
            row[name] = tensor[rows.index(client)].clone()
        if name in (f"links.up.{client}.lost", f"links.down.{client}.lost"):
            row[name] = tensor.clone()
    return row


@covering(
    name=SEVERAL,
    variant={
        "equal-plain": (EQUAL, False, "none"),
        "unequal-batchnorm": (UNEQUAL, True, "none"),
        "unequal-compressed": (UNEQUAL, False, "topk:0.4,feedback=true"),
    },
    optimizer=["adam", "sgd:momentum=0.9"],
)
def test_absent_clients_do_not_move(
    case, name: str, variant: tuple[tuple[int, ...], bool, str], optimizer: str
) -> None:
    sizes, norm, compression = variant
    before: dict[int, dict[str, Tensor]] = {}
    rested: list[int] = []

    def compare(event: Event) -> None:
        if not isinstance(event, EpochDone):
            return
        present = trainer.participants(event.epoch)
        for client in before:
            row = row_of(trainer, client)
            if client not in present:
                assert_identical(before[client], row)
                rested.extend([client] if any("optimizer" in key for key in row) else [])
            before[client] = row

    training = case(
        make(name),
        sizes=sizes,
        batch=4,
        norm=norm,
        optimizer=optimizer,
        participation=0.5,
        epochs=4,
        compression=compression,
    )
    training.hooks = Hooks(observe=compare)
    trainer = training.build()
    before.update({client: row_of(trainer, client) for client in range(len(sizes))})
    trainer.run()
    assert rested, "no client rested after it had trained: the test saw nothing"


@several_clients
@pytest.mark.parametrize("optimizer", ["adam", "sgd:momentum=0.9"])
def test_a_client_without_data_left_does_not_move_until_the_merge(case, name: str, optimizer: str) -> None:
    """Client 1 has one batch, the others four: it is absent from steps 2 to 4, of which the last may merge."""
    rows: list[dict[str, Tensor]] = []

    def note(event: Event) -> None:
        if isinstance(event, StepDone):
            rows.append(row_of(trainer, 1))

    training = case(make(name), sizes=(12, 3, 12), optimizer=optimizer, epochs=1)
    training.hooks = Hooks(observe=note)
    trainer = training.build()
    start = row_of(trainer, 1)
    trainer.run()
    moved = [not same(old, new) for old, new in zip([start, *rows], rows, strict=False)]
    steps = len(moved)
    may_move = {0, steps - 1} if len(rows) == 4 else set(range(steps))
    if len(rows) == 4:  # all step together
        assert moved[0]
        assert not any(moved[1:-1])
        assert trainer.method.shares or not moved[-1]
    else:  # one by one: it moves when it takes up the shared weights, and in its own step
        assert sum(moved) == 1
    assert {place for place, did in enumerate(moved) if did} <= may_move


@pytest.mark.parametrize("name", [name for name in METHODS.names() if METHODS.load(name).shares])
def test_shared_weights_are_the_mean_over_those_present(case, name: str) -> None:
    """δ_i renormalises over the participants of a round (eq. 8 and 10)."""
    sizes = (6, 2, 3, 8)
    training = case(make(name), sizes=sizes, participation=0.5, epochs=1, seed=1)
    pushed: dict[str, Tensor] = {}
    trainer = training.build()
    collect = trainer.engine.collect

    def remember(clients: tuple[int, ...]) -> dict[str, Tensor]:
        weights = collect(clients)
        pushed.clear()
        pushed.update({"clients": torch.tensor(clients), **weights})
        return weights

    trainer.engine.collect = remember
    trainer.run()
    present = pushed.pop("clients").tolist()
    total = sum(sizes[client] for client in present)
    assert trainer.shared.keys() == trainer.method.shared_of(pushed).keys()
    for key, rows in trainer.method.shared_of(pushed).items():
        mean = sum(row * (sizes[client] / total) for row, client in zip(rows, present, strict=True))
        torch.testing.assert_close(trainer.shared[key], mean)


# Law 5: stopped anywhere and resumed, a run ends with bit-identical weights.


def run_until(
    training: Callable[[], Trainer], stop_after: int | None, saved: tuple[dict[str, Tensor], Progress] | None
) -> tuple[Trainer, list[dict[str, float | int]], tuple[dict[str, Tensor], Progress] | None]:
    """Run a fresh trainer from ``saved`` until ``stop_after`` steps of the whole run; return what it saved last."""
    trainer = training()
    records: list[dict[str, float | int]] = []
    checkpoint: list[tuple[dict[str, Tensor], Progress]] = []

    def observe(event: Event) -> None:
        if isinstance(event, EpochDone):
            records.append({key: value for key, value in event.record.items() if key != "seconds"})

    def save(best: bool) -> None:
        state = {name: tensor.clone() for name, tensor in trainer.state().items()}
        checkpoint[:] = [(state, replace(trainer.progress))]

    trainer.hooks = Hooks(observe, save, lambda: stop_after is not None and trainer.progress.steps >= stop_after)
    if saved is not None:
        trainer.restore(saved[0], replace(saved[1]))
    try:
        trainer.run()
    except Interrupted:
        assert stop_after is not None
        return trainer, records, checkpoint[0]
    return trainer, records, None


@every_method
@settings(max_examples=4)
@given(
    stops=st.sets(st.floats(0, 1), min_size=1, max_size=2),
    compression=st.sampled_from(["none", "topk:0.4,feedback=true"]),
    seed=st.integers(0, 2**31),
)
def test_resumed_equals_uninterrupted_bit_for_bit(
    case, state_of, name: str, stops: set[float], compression: str, seed: int
) -> None:
    training = case(
        make(name),
        sizes=(8, 2, 5),
        norm=True,
        dropout=0.3,
        optimizer="adam",
        participation=0.7,
        label_prior="own",
        compression=compression,
        validate=True,
        seed=seed,
    )
    whole, records, _ = run_until(training.build, None, None)
    saved, seen = None, []
    for share in sorted(stops):
        stop_after = 1 + int(share * (whole.progress.steps - 2))
        _, more, saved = run_until(training.build, stop_after, saved)
        seen += more
    resumed, more, _ = run_until(training.build, None, saved)
    assert_identical(state_of(whole), state_of(resumed))
    assert replace(whole.progress, seconds=0.0) == replace(resumed.progress, seconds=0.0)
    assert records == seen + more


@pytest.mark.parametrize(
    ("name", "leave"), [("sglr", False), ("sglr", True), ("sflv1", True), ("ssl", False), ("fl", True)]
)
def test_resumed_at_any_step_of_warm_up_accumulation_and_plateau(case, state_of, name: str, leave: bool) -> None:
    training = case(
        make(name),
        sizes=(8, 2, 5),
        optimizer="adam",
        participation=0.7,
        epochs=3,
        rate=0.05,
        plateau=Plateau(factor=0.5, patience=0, threshold=0.1),
        warmup=1.5,
        accumulate=2,
        validate=True,
        clients_leave=leave,
    )
    whole, records, _ = run_until(training.build, None, None)
    assert whole.progress.plateau["rates"][0] < 0.05, "the test saw no plateau"
    for stop_after in range(1, whole.progress.steps):
        _, seen, saved = run_until(training.build, stop_after, None)
        resumed, more, _ = run_until(training.build, None, saved)
        assert_identical(state_of(whole), state_of(resumed))
        assert records == seen + more


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def assert_identical(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    different = [key for key in first if not torch.equal(first[key], second[key])]
    assert not different


@pytest.mark.parametrize(
    ("name", "leave"),
    [("sglr", False), ("sglr", True), ("sfl", True), pytest.param("psl", False, marks=pytest.mark.slow)],
)
def test_resumed_at_any_step_with_gradients_of_steps_before(case, state_of, name: str, leave: bool) -> None:
    training = case(
        make(name),
        sizes=(9, 14, 5, 12),
        norm=True,
        optimizer="adam",
        participation=0.8,
        ahead=2,
        delay_compensation=0.5,
        accumulate=2,
        compression="topk:0.4,feedback=true",
        clients_leave=leave,
    )
    whole, _, _ = run_until(training.build, None, None)
    for stop_after in range(1, whole.progress.steps):
        _, _, saved = run_until(training.build, stop_after, None)
        resumed, _, _ = run_until(training.build, None, saved)
        assert_identical(state_of(whole), state_of(resumed))
