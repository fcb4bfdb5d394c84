"""Write a trained network's segments in one format, check each against the original, and describe them in a card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.registry import EXPORTERS
from sglr.core.task import Task
from sglr.exporting.card import CARD, write_card
from sglr.exporting.check import Compared, compare, made_up_inputs
from sglr.exporting.exporter import Exporter, require
from sglr.exporting.hub import check_hub, push
from sglr.exporting.metadata import client_cut, metadata, network_facts
from sglr.exporting.new_folder import refuse_occupied, whole_folder
from sglr.exporting.pieces import Piece, check_segment, pieces
from sglr.exporting.trace import traced, untraceable
from sglr.inference.network import TrainedNetwork, Whose, trained_network
from sglr.runs.folder import Run
from sglr.storage.files import write_text

RECORD = "export.json"
"""The file that tells what the folder holds."""

MOST_REAL = 256
"""Real samples that the files are checked on, at most."""


@dataclass(frozen=True)
class ExportedFile:
    """One file.

    Parameters
    ----------
    name
        Its name in the folder.
    bytes
        Its size.
    compared
        How far it is from the original.
    metadata
        What it tells of itself.
    """

    name: str
    bytes: int
    compared: Compared
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Export:
    """A folder with a trained network's files, checked, and their card.

    Parameters
    ----------
    path
        The folder.
    format
        The format's name.
    whose
        Whose lower layers answer, in words.
    files
        Its files.
    hub
        The address that it was pushed to; None if it was not.
    """

    path: Path
    format: str
    whose: str
    files: tuple[ExportedFile, ...]
    hub: str | None = None

    @property
    def largest_difference(self) -> float:
        """The largest difference of all files."""
        return max(file.compared.difference for file in self.files)

    def told(self) -> dict[str, Any]:
        """Return what ``export.json`` holds."""
        return {"format": self.format, "whose": self.whose, "files": [asdict(file) for file in self.files]}


def export(
    run: Run | str | Path,
    out: str | Path | None = None,
    *,
    format: str = "onnx",  # noqa: A002 - the flag's name
    client: Whose | None = None,
    segment: str = "all",
    data: Any = None,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    task: str | Task | None = None,
    segment_file: str | Path | None = None,
    push_to_hub: str | None = None,
    private: bool = True,
    say: Callable[[str], None] | None = None,
    **reading: Any,
) -> Export:
    """Write a trained network as files that run without sglr, each checked against the original in its own runtime.

    Parameters
    ----------
    run
        The run, or its folder.
    out
        A new folder; by default ``export-FORMAT`` in the run's.
    format
        ``"onnx"``, ``"torch"``, ``"executorch"``, or that of a plug-in.
    client
        Whose lower layers: see `sglr.TrainedNetwork`. Of an average of clients, each client's layers are files of
        their own, and the joined network gives the mean of all outputs.
    segment
        ``"client"``, ``"server"``, ``"tail"``, ``"joined"``, or ``"all"`` that there are.
    data
        Real samples to check on, besides made-up ones, in any form of data that trains.
    model, task, segment_file
        ``model``, ``task`` and ``segment`` of `sglr.load_model`.
    push_to_hub
        The repository on the Hugging Face hub, OWNER/NAME, that the folder is then pushed to.
    private
        Whether a repository that is not there yet is made private.
    say
        Is called with a line about each file.
    reading
        How ``data`` are read, such as ``separator``.

    Raises
    ------
    UsageError
        If the run has no checkpoint, there is no such format, client or segment, the folder has other files, a
        package is missing, or the model can't be traced.
    ExportDiffers
        If a file gives other outputs than the network.
    NotPushed
        If the hub is not there or refuses; the files are on the disk.
    """
    exporter: Exporter = EXPORTERS.load(format)()
    folder = Path(out) if out is not None else (run.path if isinstance(run, Run) else Path(run)) / f"export-{format}"
    check_segment(segment)
    refuse_occupied(folder)
    require(exporter, format)
    if push_to_hub is not None:
        check_hub(push_to_hub)
    network = trained_network(run, client, model=model, task=task, segment=segment_file)
    _require_one_cut(network)
    parts = pieces(network, segment, _inputs(network, data, reading))
    with whole_folder(folder) as partial:
        made = tuple(_write(network, part, exporter, partial, say or _silent) for part in parts)
        done = Export(folder, format, network.whose, made)
        write_text(partial / RECORD, json.dumps(done.told() | network_facts(network), indent=2) + "\n", durable=False)
        write_card(partial / CARD, network, exporter, format, made)
    return done if push_to_hub is None else replace(done, hub=push(folder, push_to_hub, private))


def _require_one_cut(network: TrainedNetwork) -> None:
    """Refuse several clients that are cut at different places: each would need another file of the server's."""
    cuts = {client_cut(network.record, network.run.experiment, place) for place in range(len(network.segments))}
    if len(network.segments) > 1 and len(cuts) > 1:
        problem = f"clients are cut at different places ({network.record.cut}), and the server's layers differ"
        raise UsageError("client", str(network.client), problem, "give one client, such as --client 0")


def _inputs(network: TrainedNetwork, data: Any, reading: dict[str, Any]) -> Tensor:
    made_up = made_up_inputs(network.record, network.segments[0].lower)
    if data is None:
        return made_up
    return torch.cat([made_up, network.read(data, **reading).inputs[:MOST_REAL].to(made_up.dtype)])


def _write(
    network: TrainedNetwork, piece: Piece, exporter: Exporter, folder: Path, say: Callable[[str], None]
) -> ExportedFile:
    """Write one file, run it, and compare."""
    path, about, model = folder / (piece.name + exporter.suffix), metadata(network, piece, exporter), _model(network)
    with untraceable(piece, model, f"{type(exporter).__name__} can't hold"):
        exporter.write(traced(piece, exporter, model), path, json.dumps(about))
        runs = exporter.load(path)
    compared = compare(piece, runs, path.name)
    say(f"{path.name}: differs by {compared.difference:.1g} on {compared.samples} samples")
    return ExportedFile(path.name, path.stat().st_size, compared, about)


def _model(network: TrainedNetwork) -> str:
    return network.run.experiment.model


def _silent(line: str) -> None:
    del line
