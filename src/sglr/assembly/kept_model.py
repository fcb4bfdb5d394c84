"""What a run keeps of a model that has a folder of its own: its configuration, and the tokenizer of texts.

With them the trained network is loaded, and new texts are read, without that folder and without a network.
"""

from __future__ import annotations

from pathlib import Path

from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.runs.config import Experiment
from sglr.storage.files import is_file, write_bytes
from sglr.system.model_folder import CONFIG, TOKENIZER, model_folder

KEPT = "model"
"""The folder in a run's folder."""
HF = "hf:"


def kept_folder(run: Path | None) -> Path | None:
    """Return the folder with what a run keeps of its model, if there is one."""
    return None if run is None or not (run / KEPT).is_dir() else run / KEPT


def check_folder(run: Path, experiment: Experiment) -> None:
    """Refuse to go on with a model whose folder is gone, or that of another model.

    Raises
    ------
    UsageError
        If it is; the message says how a folder's new place is given.
    """
    kept = kept_folder(run)
    if not experiment.model.startswith(HF) or kept is None:
        return
    place = experiment.model.removeprefix(HF)
    if place.startswith(("/", ".", "~")) and not Path(place).expanduser().is_dir():
        problem = "the run's model was in this folder, which is no longer there"
        raise UsageError("model", experiment.model, problem, "if it has moved, give --model hf:FOLDER")
    found = model_folder(place, weights=False) / CONFIG
    if is_file(kept / CONFIG) and found.read_bytes() != (kept / CONFIG).read_bytes():
        problem = f"its {CONFIG} is not the one that the run began with ({kept / CONFIG})"
        raise UsageError("model", experiment.model, problem, "give the folder of the run's model")


def kept_tokenizer(run: Path | None) -> Path | None:
    """Return the tokenizer's file that a run keeps, if it keeps one."""
    kept = kept_folder(run)
    return None if kept is None or not is_file(kept / TOKENIZER) else kept / TOKENIZER


def tokenizer_for(experiment: Experiment) -> str:
    """Return the path of the tokenizer to read texts with where the user names none; empty for characters.

    Raises
    ------
    UsageError
        If the model has a folder, and there is no tokenizer in it.
    """
    kept = kept_tokenizer(experiment.folder)
    return tokenizer_of(experiment.model) if kept is None else str(kept)


def tokenizer_of(model: str) -> str:
    """Return the path of the tokenizer in a model's folder; empty if the model has no folder.

    Raises
    ------
    UsageError
        If the model has a folder, and there is no tokenizer in it.
    """
    if not model.startswith(HF):
        return ""
    path = model_folder(model.removeprefix(HF), weights=False) / TOKENIZER
    if is_file(path):
        return str(path)
    problem = f"the folder of model {model} has none"
    raise UsageError("tokenizer", "(none)", problem, f"put {TOKENIZER} there, or give --tokenizer characters or a path")


def keep_model(run: Path, experiment: Experiment, data: ClientData) -> None:
    """Copy into a run's folder what is needed to use the network later."""
    found: dict[str, Path] = {}
    if experiment.model.startswith(HF):
        found[CONFIG] = model_folder(experiment.model.removeprefix(HF), weights=False) / CONFIG
    if data.encoding.get("kind") == "text" and data.encoding.get("tokenizer") == "file":
        named = Path(str(experiment.dataset_parameters.get("tokenizer") or tokenizer_for(experiment)))
        found[TOKENIZER] = named / TOKENIZER if named.is_dir() else named
    if found:
        (run / KEPT).mkdir(exist_ok=True)
    for name, path in found.items():
        write_bytes(run / KEPT / name, path.read_bytes())
