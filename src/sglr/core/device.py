"""Numbers from the host to a device, without the host waiting for the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(values: Tensor | Sequence[float] | Sequence[int], device: torch.device) -> Tensor:
    """Return values of the host on a device.

    A copy from ordinary memory to a GPU waits until the GPU has done all that was asked before. From page-locked memory
    it is one more thing that the GPU does in its turn.
    """
    tensor = values if isinstance(values, Tensor) else torch.tensor(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
