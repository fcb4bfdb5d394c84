"""Make a plan from a request: sizes given by hand, or measured on a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sglr.core.errors import UsageError
from sglr.cost.closed_forms import Sizes
from sglr.cost.profiles import load_profile
from sglr.cost.units import read_flops_rate, read_rate
from sglr.data.batch_rule import CLOCK, GLOBAL, REGULATED, BatchRule
from sglr.planner.costs import Scenario
from sglr.planner.plan import CostPlan, at_cut, make_plan
from sglr.runs.client_cuts import cuts_of_clients
from sglr.runs.config import USUAL_TASK, Experiment

if TYPE_CHECKING:
    from sglr.core.task import Targets, Task
    from sglr.planner.cuts import Cut
    from sglr.planner.several_cuts import PlanOfCuts
    from sglr.splitting.input_layout import InputLayout

BY_HAND = ("cut_mb", "model_mb", "client_mb")
OF_MODEL = ("model", "cut", "cuts", "dataset", "input_shape", "classes", "task", "lora", "freeze", "batch_size")


@dataclass(frozen=True)
class Request:
    """What `sglr plan` was asked; either the sizes in MB are given, or a model is named.

    Parameters
    ----------
    clients, samples, phi
        |C|, |D| and φ. Without ``samples``, |D| is what the data set leaves after validation.
    cut_mb, model_mb, client_mb
        S(L), S(w) and S(w_c) in MB, 10⁶ bytes.
    model, cut
        A model's name and where to cut it; None for the model's own cut.
    cuts
        In place of ``cut``: clients that are cut at several places, as in the setting; for `plan_of_cuts`.
    dataset, data_dir
        The data set whose inputs the model takes; its files are read only where its shape is not known otherwise.
    input_shape, classes
        In place of the data set's, such as ``"1,28,28"`` and 10; of a task without classes, how many values are wanted.
    task
        What the network learns; None is classification.
    batching
        The batching rule, as in the setting.
    lora
        Adapters that are trained instead of the network, as in the setting.
    freeze
        Names of layers that stay as they are, as in the setting.
    batch_size
        Samples of one client in one step, for what a client holds in memory; None is the setting's default. Where
        ``batching`` says how many samples all clients have in a step, a client's share of them takes its place.
    rate, flops_rate, server_flops_rate
        Rates with their units, such as ``"100Mbps"`` and ``"2TFLOPS"``.
    energy_profile
        A name or a file for `sglr.cost.profiles.load_profile`.
    """

    clients: int = 10
    samples: int | None = None
    phi: float = 0.75
    cut_mb: float | None = None
    model_mb: float | None = None
    client_mb: float | None = None
    model: str | None = None
    cut: str | None = None
    cuts: str | None = None
    dataset: str | None = None
    data_dir: Path | None = None
    input_shape: str | None = None
    classes: int | None = None
    task: str | None = None
    batching: str = "local"
    lora: str | None = None
    freeze: str | None = None
    batch_size: int | None = None
    rate: str = "100Mbps"
    flops_rate: str | None = None
    server_flops_rate: str | None = None
    energy_profile: str | None = None

    def plan(self) -> CostPlan:
        """Compute the plan.

        Raises
        ------
        UsageError
            If something is missing, makes no sense, or contradicts something else.
        """
        if self.cuts is not None:
            problem = "clients that are cut at several places have a plan of their own"
            raise UsageError("cuts", self.cuts, problem, "ask for plan_of_cuts, or give one cut")
        self._reject_both_ways()
        _check_batching(self.batching, self.clients)
        batch = self._batch()
        if self.model is None:
            return replace(make_plan(self._scenario(self._typed_sizes())), batch=batch)
        inputs, targets, samples = self._shape()
        # What can be refused at once is, before a model is built.
        self._scenario(Sizes(self.clients, samples, 1, 1, 1))
        chosen, cuts = self._measured(self.model, inputs, targets)
        sizes = Sizes(self.clients, samples, chosen.cut_mb, chosen.model_mb, chosen.client_mb, chosen.beside_mb)
        target_bytes = targets.bytes if self.task is not None else None
        plan = make_plan(at_cut(self._scenario(sizes), chosen), chosen.name, cuts, target_bytes)
        return replace(plan, lora=self.lora, batch=batch)

    def plan_of_cuts(self) -> PlanOfCuts:
        """Compute the plan of clients that are cut at several places.

        Raises
        ------
        UsageError
            As `plan`, and if energy is asked for, ``cut`` is given beside ``cuts``, or these can't be read.
        """
        from sglr.adapters import Lora
        from sglr.core.registry import TASKS
        from sglr.planner.cuts import measure_several
        from sglr.planner.several_cuts import plan_of_cuts

        assert self.cuts is not None, "cuts are given"
        own = self._cuts_of_clients(self.cuts)
        self._reject_both_ways()
        _check_batching(self.batching, self.clients)
        assert self.model is not None, "there is a model, or sizes by hand"
        batch, (inputs, targets, samples), lora = self._batch(), self._shape(), Lora.parse(self.lora)
        self._scenario(Sizes(self.clients, samples, 1, 1, 1))
        task: Task = TASKS.load(self.task or USUAL_TASK)()
        task.check(targets)
        shape = task.output_shape(targets)
        cuts, places = measure_several(self.model, inputs, task.outputs(targets), own, shape, lora, self.freeze)
        sizes = Sizes(self.clients, samples, cuts[0].cut_mb, cuts[0].model_mb, cuts[0].client_mb)
        target_bytes = targets.bytes if self.task is not None else None
        about = {"target_bytes": target_bytes, "lora": self.lora, "batch": batch}
        return plan_of_cuts(self._scenario(sizes), cuts, places, **about)

    def _cuts_of_clients(self, cuts: str) -> list[str]:
        if self.cut is not None:
            raise UsageError("cuts", cuts, f"cut = {self.cut} is given, too", "give one of them")
        if self.energy_profile is not None:
            problem = f"a plan of several cuts tells no energy (cuts = {cuts})"
            remedy = "leave it out, or train an epoch with it"
            raise UsageError("energy_profile", self.energy_profile, problem, remedy)
        lora = self.lora or ""
        if "at=" in lora and "at=both" not in lora:
            problem = f"which layers are the clients' differs from client to client (cuts = {cuts})"
            raise UsageError("lora", lora, problem, "leave its at out, or give one --cut")
        return cuts_of_clients(cuts, self.clients, partial(_no_devices, cuts))

    def _batch(self) -> int:
        together = BatchRule.parse(self.batching).together
        if together is not None:
            return together // self.clients
        batch = Experiment.model_fields["batch_size"].default if self.batch_size is None else self.batch_size
        if batch < 1:
            raise UsageError("batch_size", batch, "is not above zero", "give the samples of one client in one step")
        return batch

    def _given(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]

    def _reject_both_ways(self) -> None:
        by_hand, of_model = self._given(BY_HAND), self._given(OF_MODEL)
        if by_hand and of_model:
            problem = f"sizes are also given by hand ({', '.join(map(_flag, by_hand))})"
            raise UsageError(of_model[0], getattr(self, of_model[0]), problem, "give one or the other")
        missing = [name for name in BY_HAND if name not in by_hand]
        if by_hand and missing:
            raise UsageError(
                missing[0], "none", "only some sizes are given", f"give {' and '.join(map(_flag, missing))}"
            )
        for name in ("flops_rate", "server_flops_rate"):
            if by_hand and getattr(self, name) is not None:
                problem = "sizes given by hand do not determine the computation"
                raise UsageError(name, getattr(self, name), problem, "give --model, or leave it out")
        if not by_hand and self.model is None:
            remedy = f"give {', '.join(map(_flag, BY_HAND))}, or --model with --dataset"
            raise UsageError("model", "none", "there are no sizes to plan with", remedy)

    def _scenario(self, sizes: Sizes) -> Scenario:
        if sizes.clients > sizes.samples:
            problem = f"there are only {sizes.samples} samples to divide"
            raise UsageError("clients", sizes.clients, problem, f"give {sizes.samples} clients or fewer")
        return Scenario(
            sizes,
            self.phi,
            read_rate(self.rate),
            flops_rate=_flops(self.flops_rate, "flops_rate"),
            server_flops_rate=_flops(self.server_flops_rate, "server_flops_rate"),
            profile=None if self.energy_profile is None else load_profile(self.energy_profile),
        )

    def _typed_sizes(self) -> Sizes:
        """Refuse sizes that make no sense under the names that they were typed by."""
        if self.samples is None:
            raise UsageError(
                "samples", "none", "there is no data set to count samples of", "give --samples, those of all clients"
            )
        assert self.cut_mb is not None and self.model_mb is not None and self.client_mb is not None
        if self.client_mb == 0:
            raise UsageError("client_mb", self.client_mb, "is not above zero", "give a positive number")
        try:
            return Sizes(self.clients, self.samples, self.cut_mb, self.model_mb, self.client_mb)
        except UsageError as error:
            typed = {name.removesuffix("_mb"): name for name in BY_HAND}
            raise UsageError(typed.get(error.field, error.field), error.value, error.problem, error.remedy) from error

    def _measured(self, model: str, inputs: tuple[int, ...] | InputLayout, targets: Targets) -> tuple[Cut, list[Cut]]:
        from sglr.adapters import Lora
        from sglr.core.registry import TASKS
        from sglr.planner.cuts import measure_cuts

        task: Task = TASKS.load(self.task or USUAL_TASK)()
        task.check(targets)
        return measure_cuts(
            model,
            inputs,
            task.outputs(targets),
            self.cut,
            task.output_shape(targets),
            Lora.parse(self.lora),
            self.freeze,
        )

    def _shape(self) -> tuple[tuple[int, ...] | InputLayout, Targets, int]:
        """Return the shape of inputs, what targets are, and |D|; a data set is asked for what is not given."""
        from sglr.planner.targets import targets_of

        input_shape = None if self.input_shape is None else read_shape(self.input_shape)
        classes, samples = self.classes, self.samples
        if classes is not None and classes < 1:
            raise UsageError("classes", classes, "is not above zero", "give the number of classes")
        if input_shape is None or classes is None or samples is None:
            if self.dataset is None:
                missing = [name for name in ("input_shape", "classes", "samples") if getattr(self, name) is None]
                remedy = f"give --dataset, or {' and '.join(map(_flag, missing))}"
                raise UsageError("dataset", "none", "the model's inputs are not known", remedy)
            from sglr.data.shape import dataset_shape

            shape = dataset_shape(self.dataset, self.data_dir)
            several = shape.layout if input_shape is None else None
            input_shape = input_shape or shape.input_shape
            samples = shape.samples if samples is None else samples
            if several is not None or classes is None:
                return several or input_shape, shape.targets, samples
        return input_shape, targets_of(self.task or USUAL_TASK, input_shape, classes), samples


def _no_devices(cuts: str) -> None:
    raise UsageError("cuts", cuts, "a plan knows no devices of clients", "write ranges of clients: 0-4=layer1,5-9=40%")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _flops(text: str | None, field: str) -> float | None:
    return None if text is None else read_flops_rate(text, field)


def read_shape(text: str) -> tuple[int, ...]:
    """Return the shape that is written as ``"1,28,28"``.

    Raises
    ------
    UsageError
        If it is none.
    """
    try:
        shape = tuple(int(word) for word in text.split(","))
    except ValueError:
        shape = (0,)
    if min(shape) < 1:
        raise UsageError("input_shape", text, "is not a shape", "write it like 1,28,28: channels, height, width")
    return shape


def _check_batching(batching: str, clients: int) -> None:
    """Refuse batches of which an epoch's cost has no closed form; the others cost the same.

    Data are planned as spread evenly, so that the shares of ``proportional`` are equal batches.
    """
    rule = BatchRule.parse(batching)
    remedy = "leave it out, or train an epoch with it: summary.json counts everything sent"
    if rule.name == GLOBAL:
        problem = "the length of a step's average is drawn at random, and has no closed form"
        raise UsageError("batching", batching, problem, remedy)
    if rule.name in (CLOCK, REGULATED):
        problem = "what clients have in a step follows from a simulated clock, and has no closed form"
        raise UsageError("batching", batching, problem, remedy)
    if rule.together is not None and rule.together % clients:
        problem = f"{clients} clients can't share {rule.together} samples equally, and leave out some in an epoch"
        raise UsageError("batching", batching, problem, f"give a multiple of {clients}, or {remedy}")
