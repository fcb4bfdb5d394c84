"""Codecs by name, and error feedback.

**Error feedback.** A codec that rounds or drops values makes an error in every step. With feedback a sender adds, in
its next step, the mean error over the samples of this step. The usual memory is one residual per number, which is right
for weights: the same numbers are sent in every step. In split learning row j of the next batch is another sample, and a
residual per row would add one sample's error to another sample's values. What can be carried over is what all samples
have in common, the mean, so that is the memory: one sample's shape for any batch size. Means then arrive unbiased over
time: the sum of the decoded batches' means differs from the sum of the original means only by the last memory.

It is off by default. It changes nothing for int8, and for top-k it costs accuracy as long as the network is
used with the codec, as between sites (docs/results/compression.md). Rudakov et al. (2401.07788) found the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from sglr.compression.codecs import Bfloat16, Float16, Int2, Int4, Int8, TopK
from sglr.compression.each_way import EachWay
from sglr.core.codec import Codec, Plain
from sglr.core.errors import UsageError, unknown
from sglr.core.spec import Option, Spec

CODECS: Mapping[str, Callable[..., Codec]] = {
    "none": Plain,
    "bf16": Bfloat16,
    "fp16": Float16,
    "int8": Int8,
    "int4": Int4,
    "int2": Int2,
    "topk": TopK,
}
"""Codecs by name."""

FEEDBACK = Option(bool, "add the error of a step in the next step")
SHARE = Option(Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)], "fraction of the values that is sent")

OPTIONS: Mapping[str, Mapping[str, Option]] = {
    "int8": {"feedback": FEEDBACK},
    "int4": {"feedback": FEEDBACK},
    "int2": {"feedback": FEEDBACK},
    "topk": {"share": SHARE, "feedback": FEEDBACK},
}
"""Options of codecs; others have none."""


def parse(text: str) -> Codec:
    """Read ``"int8"``, ``"int8:feedback=true"``, ``"topk:0.1,feedback=true"`` or ``"up=int8,down=int4"``.

    What has no codec of its own, ``up`` (smashed data) or ``down`` (gradients), is written as it is.

    Raises
    ------
    UsageError
        If the codec or an option is unknown, or a direction is named twice.
    """
    if not text.startswith(("up=", "down=")):
        return _one(text)
    named = [part.split("=", 1) for part in re.split(r",(?=up=|down=)", text)]
    ways = {way: _one(codec) for way, codec in named}
    if len(ways) < len(named):
        problem = "it names one direction twice"
        raise UsageError("compression", text, problem, "name up and down once each, as in up=int8,down=int4")
    return EachWay.of(ways.get("up", Plain()), ways.get("down", Plain()))


def _one(text: str) -> Codec:
    spec = Spec.parse("compression", text)
    if spec.name not in CODECS:
        raise unknown("compression", spec.name, CODECS)
    known = OPTIONS.get(spec.name, {})
    return CODECS[spec.name](**spec.options(known, first="share" if "share" in known else None))


class ErrorFeedbackChannel:
    """One direction between one client and the server, at the sender: a codec and its error memory.

    Parameters
    ----------
    codec
        The codec.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.lost: Tensor | None = None
        """Mean error over the samples of the last batch, ``[...]``; None without feedback or before the first batch."""

    def send(self, values: Tensor) -> dict[str, Tensor]:
        """Return the parts to send for ``values`` ``[b, ...]``, and remember their error."""
        if not self.codec.feedback or not len(values):
            return self.codec.encode(values)
        # Sums depend on the memory layout, which differs between engines: make it the same.
        wanted = (values if self.lost is None else values + self.lost).contiguous()
        parts = self.codec.encode(wanted)
        self.lost = (wanted - self.codec.decode(parts, tuple(values.shape))).mean(0)
        return parts

    def state(self) -> dict[str, Tensor]:
        """Return the state for a checkpoint."""
        return {} if self.lost is None else {"lost": self.lost.clone()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        found = tensors.get("lost")
        self.lost = None if found is None else found.clone()


class Received(nn.Module):
    """The codec as a layer of a trained network: encode and decode what crosses the cut.

    Parameters
    ----------
    codec
        The codec.
    """

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, smashed: Tensor) -> Tensor:
        """Return smashed data ``[b, ...]`` as the server decodes them; gradients pass unchanged."""
        # The difference is zero, with gradient one.
        return self.codec.received(smashed.detach()) + (smashed - smashed.detach())
