"""Compression by its name, and the memory of what it lost.

**Error feedback.** A code that rounds or drops loses something in every step. With feedback a sender adds, in its next
step, what it lost on average over the samples of this one. The usual memory is a residual per number, which is right
for weights: the same numbers are sent in every step. In split learning row j of the next batch is another sample, and a
residual per row would put one sample's loss into another's values. What can be carried over is what all samples have in
common, their mean, so that is the memory: one sample's shape, whatever the batch. Means then arrive unbiased over time:
the sum of the batches' means as they were decoded differs from that of what was meant by the last memory alone.

It is off unless it is asked for. It changes nothing for int8, and for top-k it costs accuracy as long as the network is
used through its code, as it is between sites (docs/results/compression.md). Rudakov et al. (2401.07788) found the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from sglr.compression.codecs import Bfloat16, Float16, Int8, TopK
from sglr.core.codec import Codec, Plain
from sglr.core.errors import unknown
from sglr.core.spec import Option, Spec

CODECS: Mapping[str, Callable[..., Codec]] = {
    "none": Plain,
    "bf16": Bfloat16,
    "fp16": Float16,
    "int8": Int8,
    "topk": TopK,
}
"""Codecs by name."""

FEEDBACK = Option(bool, "is what a step lost added in the next?")
SHARE = Option(Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)], "share of the values that is sent")

OPTIONS: Mapping[str, Mapping[str, Option]] = {
    "int8": {"feedback": FEEDBACK},
    "topk": {"share": SHARE, "feedback": FEEDBACK},
}
"""Options of codecs; others have none."""


def parse(text: str) -> Codec:
    """Read ``"int8"``, ``"int8:feedback=true"`` or ``"topk:0.1,feedback=true"``.

    Raises
    ------
    UsageError
        If there is no such codec, or it has no such option.
    """
    spec = Spec.parse("compression", text)
    if spec.name not in CODECS:
        raise unknown("compression", spec.name, CODECS)
    known = OPTIONS.get(spec.name, {})
    return CODECS[spec.name](**spec.options(known, first="share" if "share" in known else None))


class ErrorFeedbackChannel:
    """One direction between one client and the server, as its sender sees it: a codec, and what it lost so far.

    Parameters
    ----------
    codec
        How values are written.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.lost: Tensor | None = None
        """Mean over samples of what the last batch lost, ``[...]``; None without feedback or before the first."""

    def send(self, values: Tensor) -> dict[str, Tensor]:
        """Return the parts that go on the wire for ``values`` ``[b, ...]``, and remember what they lack."""
        if not self.codec.feedback or not len(values):
            return self.codec.encode(values)
        # Sums depend on the order of numbers in memory, which is the engine's affair: here it is always the same.
        wanted = (values if self.lost is None else values + self.lost).contiguous()
        parts = self.codec.encode(wanted)
        self.lost = (wanted - self.codec.decode(parts, tuple(values.shape))).mean(0)
        return parts

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs."""
        return {} if self.lost is None else {"lost": self.lost.clone()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        found = tensors.get("lost")
        self.lost = None if found is None else found.clone()


class Received(nn.Module):
    """What arrives at the other side of the cut, as a layer of a trained network.

    Parameters
    ----------
    codec
        How values are written.
    """

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, smashed: Tensor) -> Tensor:
        """Return what the server has of smashed data ``[b, ...]``; gradients pass as they are."""
        # The difference is zero, and its gradient one.
        return self.codec.received(smashed.detach()) + (smashed - smashed.detach())
