"""A trained network: the server's segment with the segments of those clients that answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from sglr.assembly.client_data import load
from sglr.assembly.kept_model import kept_tokenizer
from sglr.assembly.load_model import load_training, trained_head, trained_segments
from sglr.assembly.without_data import located
from sglr.compression.error_feedback import Received
from sglr.core.data import Inputs
from sglr.core.errors import UsageError
from sglr.core.spec import name_in
from sglr.core.task import Targets, Task
from sglr.data.federate import fewer
from sglr.data.new_samples import NewSamples, TrainedOn
from sglr.data.read_new import read_new
from sglr.data.wanted_targets import with_targets
from sglr.inference.early_exit import EarlyExit, answered_for, check_entropy
from sglr.inference.predictions import check_batch_size
from sglr.runs.data_record import DataRecord
from sglr.runs.folder import Run
from sglr.splitting import Thirds
from sglr.splitting.input_layout import InputLayout
from sglr.splitting.several_inputs import PackInputs

Whose: TypeAlias = int | Literal["shared", "average", "each"]
"""Whose lower layers answer: those that all share, a client's, or all clients', whose outputs are averaged or not."""

CACHED, MOST_VALUES, FEW = 1 << 17, 1 << 21, 16
"""Values of the inputs or outputs of one batch that stay in a processor's cache with what layers make of them; the most
that are taken so that a batch has at least a few samples; and how many are a few."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, on the CPU, in evaluation mode.

    Parameters
    ----------
    run
        The run that trained it.
    record
        What it was trained on, as the run's folder has it.
    task
        What it learned, with what was chosen on the validation samples, such as a threshold.
    targets
        What its targets are.
    client
        Whose lower layers answer.
    segments
        The segments of each client that answers; the server's is one object for all of a cut.
    received
        What the codec makes of smashed data; None if they cross the cut as they are. Where clients are cut at several
        places it is of the first one's.
    received_of
        That of each of these clients, where they are cut at several places; else empty.
    heads
        The heads of these clients, in their order; empty where clients have none.
    head_entropy
        Up to which entropy of its softmax a head answers without the server; None if it never does.
    epoch
        The epoch that the weights are of, counted from 1; 0 before the first step.
    """

    run: Run
    record: DataRecord
    task: Task
    targets: Targets
    client: Whose
    segments: tuple[Thirds, ...]
    received: nn.Module | None = None
    heads: tuple[nn.Module, ...] = ()
    head_entropy: float | None = None
    received_of: tuple[nn.Module | None, ...] = ()
    epoch: int = 0

    def alone(self) -> TrainedNetwork:
        """Return the network without the server: each client's lower layers with its head behind them.

        Raises
        ------
        UsageError
            If clients have no heads, or each has its own and none was chosen.
        """
        self._require_heads("head", True)
        pairs = zip(self.segments, self.heads, strict=True)
        segments = tuple(Thirds(own.lower, head, nn.Identity()) for own, head in pairs)
        return replace(self, segments=segments, received=None)

    def early_exit(self, entropy: float) -> TrainedNetwork:
        """Return the network whose clients answer where their heads are sure, and the server elsewhere (SplitGP).

        Parameters
        ----------
        entropy
            Up to which entropy of its softmax a head answers, in nats: 0 to ln K of K classes.

        Raises
        ------
        UsageError
            If clients have no heads, or each has its own and none was chosen; if it is no entropy, or samples have no
            classes.
        """
        self._require_heads("head_entropy", entropy)
        check_entropy(entropy, self.task, self.targets)
        return replace(self, head_entropy=entropy)

    def _require_heads(self, field: str, value: object) -> None:
        if not self.heads:
            problem = f"clients of method {self.run.experiment.method} have no heads, and can't answer alone"
            raise UsageError(field, value, problem, "leave it out")
        if self.client == "shared" and not self.record.method.trains_head:
            problem = "each client has a head of its own in this run"
            raise UsageError("client", "shared", problem, f"give 0 to {self.record.clients - 1}")

    @property
    def whose(self) -> str:
        """Whose lower layers answer, in words; and for how many samples their heads did, where these may."""
        asked, alone = (sum(getattr(path, name, 0) for path in self._paths) for name in ("asked", "alone"))
        return self._clients + answered_for(asked, alone)

    @property
    def _clients(self) -> str:
        if self.client == "average":
            return f"average of {len(self.segments)} clients"
        return (
            "each client" if self.client == "each" else "shared" if self.client == "shared" else f"client {self.client}"
        )

    @property
    def trained_on(self) -> TrainedOn:
        """What new data are read as."""
        record = self.record
        kept = kept_tokenizer(self.run.path) or ""
        return TrainedOn(record.input_shape, record.dtype, self.targets, record.encoding, str(kept))

    @property
    def origin(self) -> str:
        """The folder of the run."""
        return str(self.run.path)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.run.experiment.seed

    def module(self) -> nn.Module:
        """Return the network as a plain module: inputs ``[N, ...]`` to outputs ``[N, ...]``.

        Of several clients it is the mean of their outputs. Where samples have several inputs, it takes a dict of them.

        Raises
        ------
        UsageError
            If each client is to answer for itself.
        """
        if self.client == "each":
            raise UsageError("client", "each", "a module gives one output", "give a client, shared or average")
        found = self._paths[0] if len(self.segments) == 1 else MeanOfOutputs(self._paths)
        layout = InputLayout.of(self.record.encoding)
        return found if layout is None else nn.Sequential(PackInputs(layout), found).eval()

    @cached_property
    def _paths(self) -> tuple[nn.Module, ...]:
        if self.head_entropy is None:
            codecs = self.received_of or (self.received,) * len(self.segments)
            return tuple(map(self._path, self.segments, codecs))
        pairs = zip(self.segments, self.heads, strict=True)
        return tuple(
            EarlyExit(
                own.lower, head, self._path(own._replace(lower=nn.Identity()), self.received), self.head_entropy
            ).eval()
            for own, head in pairs
        )

    def _path(self, thirds: Thirds, received: nn.Module | None) -> nn.Sequential:
        layers = OrderedDict[str, nn.Module](client=thirds.lower)
        if received is not None:
            layers["received"] = received
        layers["server"] = thirds.upper
        if self.record.tail is not None:
            layers["tail"] = thirds.tail
        return nn.Sequential(layers).eval()

    def read(self, data: Any, **options: Any) -> NewSamples:
        """Return new data as inputs of the network; see `sglr.data.read_new.read_new`."""
        return read_new(data, self.trained_on, **options)

    def own_test(self) -> NewSamples:
        """Return the run's own test samples.

        Raises
        ------
        UsageError
            If its data were given as objects, are at other sites, or are no longer there.
        """
        experiment = located(self.run.experiment, self.record)
        if experiment.dataset.startswith("<") or name_in(experiment.dataset) == "sites":
            problem = "the run's own were Python objects or at other sites"
            raise UsageError("data", experiment.dataset, problem, "give data with targets")
        dataset = with_targets(load(experiment, self.task), self.targets, experiment.dataset)
        own = NewSamples.of_samples(fewer(dataset.test, experiment.test_samples))
        return own.checked(self.trained_on, experiment.dataset)

    def outputs(self, inputs: Inputs, batch_size: int | None = None) -> Tensor:
        """Return the network's outputs ``[N, ...]`` for inputs ``[N, ...]``."""
        return torch.cat([found.mean(0) for found in self.batches(inputs, batch_size)])

    def batches(self, inputs: Inputs, batch_size: int | None = None) -> Iterator[Tensor]:
        """Yield the outputs ``[n, m, ...]`` of each answering client for m samples at a time; n is 1 for an average.

        Raises
        ------
        UsageError
            If ``batch_size`` is below 1.
        """
        check_batch_size(batch_size)
        if inputs.dim() == 4:
            for path in self._paths:
                path.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        size = batch_size or self._at_once(inputs)
        for path in self._paths:
            if isinstance(path, EarlyExit):
                path.restart()
        for first in range(0, len(inputs), size):
            batch = inputs[first : first + size]
            with torch.inference_mode():
                if batch.dim() == 4:
                    batch = batch.contiguous(memory_format=torch.channels_last)
                found = torch.stack([path(batch) for path in self._paths])
            yield found if self.client == "each" else found.mean(0, keepdim=True)

    def _at_once(self, inputs: Inputs) -> int:
        """Return how many samples are one batch; of a text, outputs have a value for each word that there is."""
        with torch.inference_mode():
            outputs: Tensor = self._paths[0](inputs[:1])
        values = max(1, inputs[:1].numel(), outputs.numel())
        return max(1, CACHED // values, min(FEW, MOST_VALUES // values))


class MeanOfOutputs(nn.Module):
    """The mean of several networks' outputs.

    Parameters
    ----------
    networks
        The networks.
    """

    def __init__(self, networks: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the mean of the outputs ``[N, ...]`` for inputs ``[N, ...]``."""
        return torch.stack([network(inputs) for network in self.networks]).mean(0)


def trained_network(
    run: Run | str | Path,
    client: Whose | None = None,
    *,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    task: str | Task | None = None,
    segment: str | Path | None = None,
) -> TrainedNetwork:
    """Load a trained network from a run's folder, with the weights of the best validation epoch.

    Parameters
    ----------
    run
        The run, or its folder.
    client
        Whose lower layers answer: a client's number; ``"shared"`` if all clients have the same; ``"average"`` for the
        mean of all clients' outputs; ``"each"`` to score each client. By default shared where they are, else average.
    model, task
        The model and the task, as for `sglr.load_model`.
    segment
        The file with the client's weights, where clients were on machines of their own.

    Raises
    ------
    UsageError
        If the folder is no run or has no checkpoint, or whose layers are to answer is not possible.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    run = (
        run
        if isinstance(run, Run) and not isinstance(model, str)
        else Run.open(folder, model if isinstance(model, str) else None)
    )
    record = run.data
    if record is None:
        remedy = "train it again; sglr.load_model(path, dataset=...) returns its network"
        raise UsageError("run", folder, "is of sglr 0.1, and does not tell how its data were read", remedy)
    built = load_training(run, model, task)
    shared = (bool(built.trainer.shared) and built.method.alike) or record.method.pooled
    whose = _whose(client, shared, record.clients, segment)
    numbers = range(record.clients) if whose in ("average", "each") else [0 if whose == "shared" else int(whose)]
    file = None if segment is None else Path(segment)
    segments = [trained_segments(built, number, file) for number in numbers]
    cuts, headed = [built.cut_of(number) for number in numbers], built.method.head
    codecs = [built.trainer.engine.codec.of_cut(cut) for cut in cuts]
    uppers = {cut: thirds.upper for cut, thirds in zip(reversed(cuts), reversed(segments), strict=True)}
    received = tuple(None if codec.exact else Received(codec) for codec in codecs)
    progress = built.trainer.progress
    return TrainedNetwork(
        run,
        record,
        built.task.decided((run.summary or {}).get("test") or {}),
        built.data.targets,
        whose,
        tuple(each._replace(upper=uppers[cut]) for each, cut in zip(segments, cuts, strict=True)),
        received[0],
        tuple(trained_head(built, number, file) for number in numbers) if headed else (),
        received_of=received if built.cuts is not None else (),
        epoch=progress.epoch + (progress.epoch_steps > 0),
    )


def _whose(client: Whose | None, shared: bool, clients: int, segment: str | Path | None) -> Whose:
    if segment is not None and not isinstance(client, int):
        if client in (None, "shared") and shared:
            return "shared"
        raise UsageError("client", str(client), "a file holds the layers of one client", "give that client's number")
    if client is None:
        return "shared" if shared else "average"
    if client == "shared" and not shared:
        problem = "each client has lower layers of its own in this run"
        raise UsageError("client", "shared", problem, f"give 0 to {clients - 1}, or average")
    if client in ("average", "each") and shared:
        return "shared"
    return client
