"""Tiny trainings that every test can build, and the random numbers kept apart from one another."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from hypothesis import settings
from torch import Tensor, nn

from sglr.compression.error_feedback import parse as parse_codec
from sglr.core.codec import Codec
from sglr.core.data import ClientData, Samples
from sglr.core.engine import Engine
from sglr.core.events import Event
from sglr.core.merging import MergeRule
from sglr.core.merging.weight_sharing import WeightSharing
from sglr.core.method import Method
from sglr.core.optim import OptimizerSpec, Plateau
from sglr.core.plan import TrainingPlan
from sglr.core.task import Targets, Task
from sglr.core.trainer import Hooks, Trainer
from sglr.data.batch_rule import BatchRule
from sglr.data.batches import Batching
from sglr.data.stragglers import Pace, StragglerRule
from sglr.engines.local import Local
from sglr.parties.client_loss import ClientLoss
from sglr.parties.decoder_loss import DecoderLoss
from sglr.parties.defences import DefenceChain
from sglr.parties.defences import parse as parse_defence
from sglr.parties.server import SplitServer
from sglr.parties.server_spec import ServerSpec
from sglr.parties.spec import ClientSpec
from sglr.splitting import ClientSegments, HeadedSegment, given_head
from sglr.system.torchvision import load_torchvision
from sglr.tasks.classification import Classification

# What is fastest on a busy machine is chance: tests that are about it switch it on, with a cache of their own.
os.environ["SGLR_TUNING"] = "off"
# Packages that tests import themselves import torchvision in turn.
load_torchvision()
# Cores are shared in CI: a slow example is no failure.
# The same commit has the same verdict: examples of the whole run follow from the tests; those of the quick one are new.
settings.register_profile("sglr", deadline=None, max_examples=20, derandomize=True)
settings.register_profile("quick", deadline=None, max_examples=10)
settings.load_profile("sglr")

INPUTS, CUT, CLASSES = 4, 3, 3
CPU = torch.device("cpu")
TASK = Classification()
parse_optimizer = cache(OptimizerSpec.parse)
RAY = Path(__file__).parent / "engines" / "ray"


def pytest_configure(config: pytest.Config) -> None:
    """Try fewer examples, drawn anew every time, where slow tests are left out."""
    if config.option.markexpr == "not slow":
        settings.load_profile("quick")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compute with one thread, whatever tests before did: with tensors of a dozen numbers, more only wait for another.

    Torch keeps a number for this thread and one for threads to come. Where a test has changed one of them, clients in
    threads of this process and a run in its main thread would round convolutions differently.
    """
    del item
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest; let pass what Ray leaves open when it ends: its processes' handles and log files."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)
    for item in items:
        parameters = (
            item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
        )
        on_ray = any(isinstance(value, str) and value == "ray" for value in parameters)  # others may be arrays
        if on_ray or item.path.parent == RAY:
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


def covering(**axes: Sequence[Any] | Mapping[str, Any]) -> pytest.MarkDecorator:
    """Parametrize with all combinations; those beyond a set that has each value at least once are slow.

    The first axis is to be the longest: its values go with all of the second's in turn, all pairs of the others' too
    if there are enough of it.
    """
    values = [list(axis.values()) if isinstance(axis, Mapping) else list(axis) for axis in axes.values()]
    names = [list(axis) if isinstance(axis, Mapping) else [str(value) for value in axis] for axis in axes.values()]
    sizes = [len(axis) for axis in values]
    strides = [1, *(prod(sizes[1:number]) for number in range(1, len(sizes)))]
    quick = {
        tuple(place // stride % size for size, stride in zip(sizes, strides, strict=True))
        for place in range(max(sizes))
    }
    cases = [
        pytest.param(
            *(axis[place] for axis, place in zip(values, places, strict=True)),
            id="-".join(axis[place] for axis, place in zip(names, places, strict=True)),
            marks=[] if places in quick else [pytest.mark.slow],
        )
        for places in product(*map(range, sizes))
    ]
    return pytest.mark.parametrize(tuple(axes), cases)


def make_samples(number: int, seed: int = 0) -> Samples:
    """Draw samples whose class depends on their inputs."""
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, INPUTS, generator=rng)
    return Samples(inputs, inputs[:, :CLASSES].argmax(1))


def make_clients(sizes: Sequence[int], seed: int = 0) -> ClientData:
    """Give client i the next ``sizes[i]`` samples; 12 more are for validation and test."""
    train = make_samples(sum(sizes), seed)
    rows = torch.arange(sum(sizes)).split(list(sizes))
    held_out = make_samples(12, seed + 1)
    return ClientData(train, tuple(rows), held_out, held_out, Targets.of_classes(tuple("abc")))


def make_lower(seed: int, *, norm: bool = False, dropout: float = 0.0) -> nn.Module:
    """Build a client segment 4 → 3."""
    torch.default_generator.manual_seed(seed)
    # A bias before BatchNorm has a gradient of zero, rounded: only noise to compare.
    layers: list[nn.Module] = [nn.Linear(INPUTS, CUT, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm1d(CUT))
    layers.append(nn.Tanh())
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def make_upper(seed: int = 1000, *, norm: bool = False) -> nn.Module:
    """Build a server segment 3 → 3 classes."""
    torch.default_generator.manual_seed(seed)
    layers: list[nn.Module] = [nn.Linear(CUT, CUT, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm1d(CUT))
    return nn.Sequential(*layers, nn.Tanh(), nn.Linear(CUT, CLASSES))


def make_client(seed: int, *, lower: Callable[[int], nn.Module], norm: bool) -> nn.Module:
    """Build a client that keeps its labels: a segment 4 → 3 and a tail 3 → 3 classes, BatchNorm in it if asked for."""
    first = lower(seed)
    tail: list[nn.Module] = [nn.BatchNorm1d(CUT)] if norm else []
    return ClientSegments(first, nn.Sequential(*tail, nn.Linear(CUT, CLASSES)), (CUT,))


def make_covered(seed: int, *, lower: Callable[[int], nn.Module], defences: DefenceChain) -> nn.Module:
    """Build a client segment with its defences' layers."""
    return defences.covered(lower(seed))


def make_headed(
    seed: int,
    *,
    lower: Callable[[int], nn.Module],
    defences: DefenceChain,
    trained: bool,
    head: nn.Module | None,
    values: int = CLASSES,
) -> nn.Module:
    """Build a client segment with a head to three classes, or a decoder to so many values."""
    covered = make_covered(seed, lower=lower, defences=defences)
    with torch.no_grad():
        cut = covered.eval()(torch.zeros(1, make_inputs(covered))).shape[1:]
    torch.default_generator.manual_seed(seed + 500)
    own = copy.deepcopy(head) if head else nn.Linear(*cut, values)
    return HeadedSegment(covered.train(), own if trained else given_head(own), tuple(cut))


def make_inputs(segment: nn.Module) -> int:
    """Return how many numbers a segment's first linear layer takes."""
    return next(layer.in_features for layer in segment.modules() if isinstance(layer, nn.Linear))


@dataclass
class Case:
    """A training to build; every test names only what it is about."""

    method: Method
    sizes: Sequence[int] = (6, 6, 6)
    batch: int = 3
    epochs: int = 2
    optimizer: str = "sgd"
    server_optimizer: str | None = None
    rate: float = 0.1
    server_rate: float | None = None
    norm: bool = False
    dropout: float = 0.0
    tail: bool = False
    stacking: str = "stacked"
    compression: str = "none"
    defence: str = "none"
    short_clients: str = "wait"
    least_batch: int = 1
    batching: str = "local"
    stragglers: str = "wait"
    pace: Pace | None = None
    clients_leave: bool = False
    participation: float = 1.0
    label_prior: str = "ignore"
    clip_norm: float | None = None
    schedule: str = "constant"
    plateau: Plateau | None = None
    warmup: float = 0.0
    accumulate: int = 1
    ahead: int = 0
    delay_compensation: float = 0.0
    seed: int = 0
    rule: MergeRule = field(default_factory=MergeRule)
    lower: Callable[[int], nn.Module] | None = None
    upper: nn.Module | None = None
    head: nn.Module | None = None
    data: ClientData | None = None
    validate: bool = False
    task: Task = TASK
    engine: Callable[[ClientSpec], Engine] = Local
    check_every: int = 1
    checkpoint_every: int = 0
    hooks: Hooks = field(default_factory=Hooks)

    def clients(self) -> ClientData:
        """Return the data, in one place if the method pools it."""
        data = self.data or make_clients(self.sizes)
        if self.method.pooled:
            data = ClientData(data.train, (torch.cat(data.indices),), data.validation, data.test, data.targets)
        return data

    def segments(self) -> tuple[Callable[[int], nn.Module], nn.Module]:
        """Return client segments by id and the server's; the whole model is the client's if the method says so."""
        upper = copy.deepcopy(self.upper) if self.upper else make_upper(norm=self.norm)
        # No lambda, which would hold this case: it goes to other processes.
        lower = self.lower or partial(make_lower, norm=self.norm, dropout=self.dropout)
        if self.tail:
            assert isinstance(upper, nn.Sequential)
            return partial(make_client, lower=lower, norm=self.norm), upper[:-1]
        if self.method.head:
            trained = self.method.trains_head
            return partial(make_headed, lower=lower, defences=self.defences, trained=trained, head=self.head), upper
        if self.method.decodes:
            own = {"trained": True, "head": self.head, "values": make_inputs(lower(0))}
            return partial(make_headed, lower=lower, defences=self.defences, **own), upper
        if not self.method.whole_model:
            return partial(make_covered, lower=lower, defences=self.defences), upper
        return lambda client: nn.Sequential(lower(client), copy.deepcopy(upper)), nn.Identity()

    @property
    def defences(self) -> DefenceChain:
        """The defences, with memories of their own."""
        return parse_defence(self.defence, self.seed)

    def _codec(self) -> Codec:
        return parse_codec("none" if self.method.whole_model else self.compression)

    def build(self) -> Trainer:
        """Build it, ready to run."""
        spec = parse_optimizer(self.optimizer)
        server_spec = parse_optimizer(self.server_optimizer or self.optimizer)
        data, (lower, upper) = self.clients(), self.segments()
        setting = ClientSpec(lower, data, self.task, self.batch, spec, self.clip_norm, self.seed, CPU, self.stacking)
        stragglers = StragglerRule.parse(self.stragglers)
        rule = BatchRule.parse(self.batching)
        batching = Batching(self.batch, self.short_clients, self.least_batch, rule, self.pace, stragglers)
        loss = ClientLoss(self.task, corrects_prior=self.label_prior != "ignore")
        engine = self.engine(
            replace(
                setting,
                client_loss=loss if self.tail else None,
                head_loss=replace(loss, weight=self.method.head_weight) if self.method.head else None,
                own_share=self.method.own_share,
                decoder_loss=DecoderLoss(self.method.decoder_weight) if self.method.decodes else None,
                defences=self.defences,
                codec=self._codec(),
                clients_leave=self.clients_leave,
                ahead=self.ahead,
                delay_compensation=self.delay_compensation,
                short_clients=self.short_clients,
                least_batch=self.least_batch,
                batch_rule=rule,
                pace=self.pace,
                stragglers=stragglers,
            )
        )
        spec = ServerSpec(
            upper,
            server_spec,
            self.task,
            classes=len(data.classes),
            clients=len(data.sizes),
            label_prior=self.label_prior,
            clip_norm=self.clip_norm,
            copies=self.method.server_copies,
            stacked=self.stacking == "stacked",
            defences=self.defences,
            ask=engine.answer if self.tail else None,
            head=None if self.method.trains_head else lower(0).head,
        )
        plan = TrainingPlan(
            self.epochs,
            self.rate,
            self.rate if self.server_rate is None else self.server_rate,
            schedule=self.schedule,
            plateau=self.plateau,
            warmup=self.warmup,
            accumulate=self.accumulate,
            participation=self.participation,
            seed=self.seed,
            check_every=self.check_every,
            checkpoint_every=self.checkpoint_every,
            least_batch=self.least_batch,
            batches=batching,
            monitor=self.task.headline,
            higher_is_better=self.task.higher_is_better,
        )
        validation = data.validation if self.validate else None
        server = engine.make_server(partial(SplitServer, spec))
        buffers = {name for name, _ in lower(0).named_buffers()}
        sharing = WeightSharing(self.method, engine, server, rule=self.rule, buffers=buffers)
        return Trainer(self.method, engine, server, plan, sharing, validation, self.hooks)

    def run(self) -> Trainer:
        """Build it and train to the end."""
        trainer = self.build()
        trainer.run()
        return trainer


def snapshot(trainer: Trainer) -> dict[str, Tensor]:
    """Copy everything that a checkpoint of ``trainer`` holds."""
    return {name: tensor.detach().clone() for name, tensor in trainer.state().items()}


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], atol: float, rtol: float = 1e-4) -> None:
    """Compare two states, tensor by tensor, and name the first that differs."""
    assert found.keys() == wanted.keys()
    for key in wanted:
        torch.testing.assert_close(
            found[key], wanted[key], atol=atol, rtol=rtol, msg=lambda text, key=key: f"{key}: {text}"
        )


BLANK: dict[str, Callable[..., Any]] = {
    "sglr.report.run_report._charts": lambda summary, history: [],
    "sglr.report.run_report._classes_chart": lambda path: None,
    "sglr.report.svg._drawn": lambda figure, name: '<svg width="1pt" height="1pt"></svg>',
}


@pytest.fixture(autouse=True, scope="session")
def _no_charts() -> Iterator[pytest.MonkeyPatch]:
    """Leave charts blank, except where tests are about them: they take most of the time of a tiny training.

    The rest of every page is made as ever. Trainings in processes of their own draw.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, blank in BLANK.items():
            patch.setattr(name, blank)
        yield patch


@pytest.fixture(autouse=True)
def _charts(request: pytest.FixtureRequest, _no_charts: pytest.MonkeyPatch) -> Iterator[None]:
    """Draw where a test has the marker ``charts``."""
    if request.node.get_closest_marker("charts") is None:
        yield
        return
    _no_charts.undo()
    yield
    for name, blank in BLANK.items():
        _no_charts.setattr(name, blank)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Fill a folder once for all workers, and return it: ``once("finished run", train_into)``.

    Tests look at it; one that changes something takes a copy.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def folder(name: str, fill: Callable[[Path], object]) -> Path:
        path, filled = shared / name, shared / f"{name}.filled"
        with FileLock(shared / f"{name}.lock"):
            if not filled.exists():
                fill(path)
                filled.touch()
        return path

    return folder


@pytest.fixture(scope="session")
def case() -> type[Case]:
    """Describe a training: ``case(PSL(), sizes=(4, 4)).run()``."""
    return Case


@pytest.fixture(scope="session")
def state_of() -> Callable[[Trainer], dict[str, Tensor]]:
    """Copy a trainer's whole state."""
    return snapshot


@pytest.fixture
def events() -> list[Event]:
    """Collect events: ``case(..., hooks=Hooks(observe=events.append))``."""
    return []


@pytest.fixture
def double() -> Iterator[None]:
    """Compute in double precision, where two ways of the same sum agree but for what a wrong one would add."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
