"""Numbers arrive on the device as they were on the host."""

from __future__ import annotations

import torch

from sglr.core.weights import to_device

CPU = torch.device("cpu")


def test_numbers_keep_their_values_and_types() -> None:
    assert torch.equal(to_device([3, 1, 2], CPU), torch.tensor([3, 1, 2]))
    assert to_device([0.5, 2.0], CPU).dtype == torch.float32
    values = torch.arange(4)
    assert to_device(values, CPU) is values
