"""A run's parts without its data: the record that is written when it begins, and placeholders made from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sglr.assembly.parts import PartOverrides, Training
from sglr.assembly.task import plain, recorded_task
from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.registry import ENGINES, model_prefix
from sglr.core.server_protocol import Server
from sglr.core.spec import name_in
from sglr.core.task import Targets, Task
from sglr.core.types import Downlink, StepContext, Uplink
from sglr.data.formats.files import data_root
from sglr.runs.config import Experiment
from sglr.runs.data_record import DataRecord, MethodFacts, TargetFacts
from sglr.splitting.input_layout import layout_alone


def record_of(experiment: Experiment, built: Training) -> DataRecord:
    """Return the record of a run's data and of parts that were given as objects."""
    data, method = built.data, built.method
    facts = {name: getattr(method, name) for name in MethodFacts.model_fields}
    return DataRecord(
        input_shape=tuple(data.train.inputs.shape[1:]),
        dtype=str(data.train.inputs.dtype).removeprefix("torch."),  # type: ignore[arg-type]
        classes=data.classes,
        targets=None if data.classes else TargetFacts(**asdict(data.targets)),
        clients=experiment.clients,
        cut=built.cut,
        tail=built.tail,
        encoding=json.loads(json.dumps(dict(data.encoding), default=str)),  # tuples are lists in JSON
        method=MethodFacts(**facts),
        dataset=_anywhere(experiment.dataset, experiment.data_dir),
        data_dir=None if experiment.data_dir is None else str(Path(experiment.data_dir).absolute()),
        task=json.loads(json.dumps(plain(built.task), default=str)),
    )


def _anywhere(dataset: str, data_dir: Path | None) -> str | None:
    """Return a data set's name with its path made absolute; None if it has no path."""
    kind, colon, argument = dataset.partition(":")
    if dataset.startswith("<") or not colon or not argument:
        return None
    root = data_root(data_dir)
    places = (Path(argument), *([] if root is None else [root / argument]))
    return next((f"{kind}:{place.absolute()}" for place in places if place.exists()), None)


def located(experiment: Experiment, record: DataRecord | None) -> Experiment:
    """Return a run's settings with paths by which its data are found from any working directory.

    Raises
    ------
    UsageError
        If they are neither where they were when the run began nor where its settings point.
    """
    if record is None:
        return experiment
    places: dict[str, Any] = {}
    if record.data_dir is not None and Path(record.data_dir).is_dir():
        places["data_dir"] = Path(record.data_dir)
    kind = name_in(experiment.dataset)
    if record.dataset is not None and record.dataset.startswith(f"{kind}:/"):
        place = Path(record.dataset.partition(":")[2])
        if place.exists():
            places["dataset"] = record.dataset
        elif _anywhere(experiment.dataset, experiment.data_dir) is None:
            problem = "the run was trained on it, and it is no longer there"
            raise UsageError("dataset", place, problem, "bring it back; sglr.load_model and sglr show need no data")
    return experiment.model_copy(update=places)


@dataclass(frozen=True)
class Recorded(Method):
    """A method whose properties are known from a record; it can't train."""

    facts: MethodFacts

    def __post_init__(self) -> None:
        for name, value in self.facts.model_dump(exclude={"head_weight", "own_share"}).items():
            object.__setattr__(self, name, value)

    @property
    def head_weight(self) -> float:
        """The recorded weight."""
        return self.facts.head_weight

    @property
    def own_share(self) -> float:
        """The recorded share."""
        return self.facts.own_share

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Raise: this method can't train."""
        raise NotImplementedError("a recorded method can't train")


def stand_ins(
    experiment: Experiment, record: DataRecord, model: Any = None, task: Task | None = None
) -> tuple[Experiment, PartOverrides]:
    """Return settings and parts from which a run's network is built without its data.

    Raises
    ------
    UsageError
        If the record is of another run, or the model was given as an object and is not given again.
    """
    if record.clients != experiment.clients:
        problem = f"was written for {record.clients} clients, and the run has {experiment.clients}"
        raise UsageError("data.json", "of this run", problem, "restore that file")
    if experiment.model.startswith("<") and model is None:
        remedy = "give it again: sglr.load_model(path, model=...)"
        raise UsageError("model", experiment.model, "was given as a Python object", remedy)
    inputs = torch.zeros(0, *record.input_shape, dtype=getattr(torch, record.dtype))
    targets = Targets.of_classes(record.classes) if record.targets is None else Targets(**dict(record.targets))
    none = Samples(inputs, torch.zeros(0, *targets.shape, dtype=targets.torch_dtype))
    dataset = Dataset(experiment.dataset, none, none, targets=targets, encoding=layout_alone(record.encoding))
    known = not experiment.method.startswith("<")
    method = None if known else Recorded(record.method)
    # Nothing is run here but to find the segments: how clients are stacked is not measured.
    here = {
        "device": "cpu",
        "stacking": "looped",
        "compile": False,
        "dataset": "<recorded>",
        "partition": "iid",
        "partition_parameters": {},
        "pretrained": False if model_prefix(experiment.model) else None,  # all weights are the run's
        "weights": None,
    }
    cuts = {} if record.method.whole_model else {"cut": record.cut, "cuts": None, "tail": record.tail}
    if experiment.cuts is not None and "=" in str(record.cut):
        cuts |= {"cut": None, "cuts": str(record.cut)}
    task = recorded_task(experiment, record.task, task)
    given = PartOverrides(method, model, dataset, ENGINES.load(experiment.engine), task=task)
    return experiment.model_copy(update=here | cuts), given
