"""A codec as operations that every format has gives what the codec gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sglr.compression.error_feedback import parse
from sglr.exporting.codec_layer import codec_layer

# Smaller values are flushed to zero by some processors' kernels.
VALUES = st.one_of(
    st.just(0.0), st.floats(2.0**-100, 2.0**100, width=32), st.floats(-(2.0**100), -(2.0**-100), width=32)
)
BATCHES = hnp.arrays(np.float32, st.sampled_from([(1, 8), (3, 5), (2, 3, 2, 2), (2, 2, 6, 6)]), elements=VALUES)


@pytest.mark.parametrize(
    "name", ["bf16", "fp16", "int8", "int4", "int2", "up=int4,down=topk:0.3", "topk:0.1", "topk:0.6"]
)
@given(values=BATCHES)
def test_a_layer_gives_what_its_codec_gives(name: str, values: np.ndarray) -> None:
    smashed, codec = torch.from_numpy(values.copy()), parse(name)
    found, wanted = codec_layer(codec)(smashed), codec.received(smashed)
    # The logarithm may be rounded to the next power of two: that changes what is 2^-28 of the largest or less.
    slack = smashed.flatten(1).abs().amax(1) * 2.0**-28 if name == "fp16" else torch.zeros(len(smashed))
    assert ((found - wanted).flatten(1).abs().amax(1) <= slack).all()
