"""Checkpoints: one safetensors file each, written whole or not at all, and checked when read.

The file's metadata holds the rest of the state as JSON and the SHA-256 of that and of all tensors, so that a truncated
or corrupted file is noticed. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sglr.core.errors import DamagedCheckpoint, NotRead
from sglr.storage.files import not_read, read_through, size_of, written_whole
from sglr.storage.json_files import parse
from sglr.system.machine import memory_of

LARGE, MOST_HOLES = 1 << 28, 64
"""Files of at least this many bytes are checked for holes: at least one byte in this many must be on the disk."""


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of all tensors, with names, dtypes and shapes, in the order of their names."""
    total = sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():  # an empty one may have strides of zero, which have no bytes to view
            total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _digest_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and state to ``path``: the file appears whole or not at all, even if power fails.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    tensors
        Named tensors.
    state
        Anything that can be JSON.

    Raises
    ------
    OSError
        If the file can't be written; an existing one stays unchanged.
    """
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state)
    metadata = {"state": text, "sha256": digest(ready), "state_sha256": _digest_of(text)}
    with written_whole(path) as partial:
        save_tensors(partial, ready, metadata)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file.

    Raises
    ------
    OSError
        If it can't be written, usually because the disk is full or the folder is gone.
    """
    try:
        save_file(dict(tensors), path, dict(metadata))
    except SafetensorError as error:
        raise OSError(str(error)) from error


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file; errors distinguish a damaged file from one that can't be read.

    Raises
    ------
    DamagedCheckpoint
        If the file does not exist, is truncated, or is not a safetensors file.
    NotRead
        If the operating system can't read it.
    """
    try:
        _refuse_bomb(path)
        # safetensors reports any file that it can't open as missing.
        with path.open("rb"), safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise DamagedCheckpoint(f"{path}: cannot be read as a checkpoint ({error})") from error
    except FileNotFoundError as error:
        if error.errno is None:  # from safetensors, although the file exists
            raise NotRead(f"{path}: cannot be opened; nothing was deleted, try again") from error
        raise DamagedCheckpoint(f"{path}: cannot be read as a checkpoint (there is no such file)") from error
    except (OSError, RuntimeError) as error:  # torch raises the latter for file and memory errors
        raise not_read(path, error) from error


def _refuse_bomb(path: Path) -> None:
    """Refuse files that would use all memory or block: pipes, devices, sparse files, files larger than the memory."""
    size, taken = size_of(path)
    if size > LARGE and taken * MOST_HOLES < size:
        raise DamagedCheckpoint(f"{path}: cannot be read as a checkpoint (it is a sparse file)")
    if size > memory_of(torch.device("cpu")):
        raise NotRead(f"{path}: is larger ({size / 1e9:,.1f} GB) than this machine's memory; nothing was deleted")


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the state of a checkpoint.

    Raises
    ------
    DamagedCheckpoint
        If the file is truncated, changed, not a checkpoint, or missing.
    NotRead
        If the operating system does not let it be read: the file may be intact.
    """
    with open_tensors(path) as file:
        read_through(path)
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        state, state_digest = parse(metadata["state"]), _digest_of(metadata["state"])
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"{path}: cannot be read as a checkpoint (it has no state)")
    # Versions before 0.2 did not write a digest of the state.
    if digest(tensors) != metadata.get("sha256") or metadata.get("state_sha256") not in (None, state_digest):
        raise DamagedCheckpoint(f"{path}: its tensors or its state are not what was written")
    return tensors, state
