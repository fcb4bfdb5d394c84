"""The device for tensors, by name."""

from __future__ import annotations

import torch

from sglr.core.errors import UsageError

LOOKS_PER_STEP = {"cpu": 1, "cuda": 50}
"""Steps between checks of the loss for NaN: on a GPU each check waits for the device."""


def pick_device(name: str) -> torch.device:
    """Return the device called ``name``; ``"auto"`` is a GPU if there is one.

    Raises
    ------
    UsageError
        If this machine does not have the device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.partition(":")[0]
    if kind not in LOOKS_PER_STEP:
        raise UsageError("device", name, "is not supported", "give auto, cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError("device", name, "torch finds no CUDA device", "give cpu or auto")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UsageError("device", name, f"torch can't use it ({reason})", "give auto, cpu or cuda") from error
    return device
