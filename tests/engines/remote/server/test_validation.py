"""What gets past the gate, beyond what the wire itself checks."""

from __future__ import annotations

import pytest
from torch import nn

from sglr.core.weights import state_of
from sglr.engines.remote.server.validation import check_buffers
from sglr.engines.remote.wire.frames import Malformed


@pytest.mark.parametrize("name", ["0.running_var", "0.num_batches_tracked"])
def test_a_normalisation_layer_has_no_negative_variance_and_no_negative_count(name: str) -> None:
    layers = nn.Sequential(nn.BatchNorm1d(3))
    tensors = {key: tensor.clone() for key, tensor in state_of(layers).items()}
    tensors["0.running_mean"].fill_(-1)
    check_buffers(tensors)
    tensors[name].view(-1)[0] = -1
    with pytest.raises(Malformed, match=name):
        check_buffers(tensors)
