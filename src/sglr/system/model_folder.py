"""The folder of a model of Hugging Face: on this machine, or of its hub, whose files are kept in its cache."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sglr.core.errors import UsageError
from sglr.system.extras import optional
from sglr.system.vision_libraries import reachable

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
"""Files of a model's folder: what it is built from, and how texts become its tokens."""
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
HUB = "huggingface.co"

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def model_folder(name: str, *, weights: bool) -> Path:
    """Return the folder with a model's files.

    Parameters
    ----------
    name
        A folder on this machine, or a name on the hub, such as ``"distilbert/distilbert-base-uncased"``.
    weights
        Whether its weights are needed, too; only those in safetensors are read.

    Raises
    ------
    UsageError
        If there is no such folder, it lacks a file, or the hub can't be reached and its cache has not got it.
    """
    if not name:
        raise UsageError("model", "hf:", "names no model", f"give a folder with {CONFIG}, or a name on {HUB}")
    place = Path(name).expanduser()
    if place.is_dir():
        return _with_files(place, weights)
    if place.is_file():
        raise UsageError("model", f"hf:{name}", "is a file", f"give its folder: hf:{place.parent}")
    if name.startswith((".", "/", "~")) or not _NAME.fullmatch(name):
        problem = "there is no such folder"
        raise UsageError("model", f"hf:{name}", problem, f"give a folder with {CONFIG}, or a name on {HUB}")
    return _with_files(_of_hub(name, weights), weights)


def _of_hub(name: str, weights: bool) -> Path:
    hub: Any = optional("huggingface_hub", "transformers", "model", f"hf:{name}")
    wanted = [CONFIG, TOKENIZER, *(WEIGHTS if weights else ())]
    try:
        return Path(hub.snapshot_download(name, allow_patterns=wanted, local_files_only=not reachable(HUB)))
    except Exception as error:  # whatever the hub's client raises
        said = " ".join(str(error).split()).partition(". ")[0][:200]
        problem = f"there is no such folder, and {HUB} did not give it ({type(error).__name__}: {said})"
        remedy = "get its files elsewhere, and give their folder: hf:FOLDER"
        raise UsageError("model", f"hf:{name}", problem, remedy) from error


def _with_files(folder: Path, weights: bool) -> Path:
    if not (folder / CONFIG).is_file():
        remedy = "give the folder of a model, as its save_pretrained writes it"
        raise UsageError("model", f"hf:{folder}", f"has no {CONFIG}", remedy)
    if weights and not any(folder.glob("*.safetensors")):
        remedy = "save them with save_pretrained, or give --no-pretrained for random ones"
        raise UsageError("model", f"hf:{folder}", "has no weights in safetensors", remedy)
    return folder
