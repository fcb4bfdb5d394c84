"""Checkpoints: one safetensors file each, written whole or not at all, and checked when read.

The file's metadata holds the rest of the state as JSON and the SHA-256 of all tensors, so that a torn or flipped
file is noticed. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sglr.core.errors import SglrError


class DamagedCheckpoint(SglrError):  # noqa: N818 - says what it is
    """The file can't be read or isn't what was written."""


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of all tensors, with names, dtypes and shapes, in the order of their names."""
    total = sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():  # an empty one may have strides of zero, which have no bytes to view
            total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and state to ``path``: the file appears whole or not at all, even if power fails.

    Parameters
    ----------
    path
        Where to; a file that is there is replaced.
    tensors
        Named tensors.
    state
        Anything that JSON can hold.

    Raises
    ------
    OSError
        If the file can't be written; one that was there before stays.
    """
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"state": json.dumps(state), "sha256": digest(ready)}
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(ready, partial, metadata)
    except SafetensorError as error:  # a full disk, a folder that is gone
        raise OSError(str(error)) from error
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the state of a checkpoint.

    Raises
    ------
    DamagedCheckpoint
        If the file is torn, was changed, or is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        state = json.loads(metadata["state"])
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise DamagedCheckpoint(f"{path}: cannot be read as a checkpoint ({error})") from error
    if digest(tensors) != metadata.get("sha256"):
        raise DamagedCheckpoint(f"{path}: its tensors are not what was written")
    return tensors, state


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` last through a power failure, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
