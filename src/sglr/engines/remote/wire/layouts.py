"""From a frame to tensors: exactly the names, dtypes and shapes that were agreed, with values to train on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import isfinite

import torch
from torch import Tensor

from sglr.core.errors import ExtremeValues
from sglr.core.weights import Weights
from sglr.engines.remote.wire import messages_pb2
from sglr.engines.remote.wire.frames import DTYPES, Frame, Malformed, memory_of

Layout = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
"""What tensors a message has, by name: dtype and shape."""


def check_layout(frame: Frame, layout: Layout) -> None:
    """Compare the tensors' names, dtypes and shapes with ``layout``, in any order.

    Raises
    ------
    Malformed
        If a tensor is missing, unknown, or another than agreed.
    """
    names = {tensor.name for tensor in frame.envelope.tensors}
    if names != layout.keys():
        missing, unknown = _some(layout.keys() - names), _some(names - layout.keys())
        raise Malformed(f"the {frame.kind} message has other tensors than agreed: missing {missing}; unknown {unknown}")
    for tensor in frame.envelope.tensors:
        _check_tensor(tensor, *layout[tensor.name])


def read(frame: Frame, layout: Layout, *, finite: bool = True, most_norm: float | None = None) -> dict[str, Tensor]:
    """Return the tensors of ``frame``, which must be those of ``layout``, as copies on the CPU, in its order.

    Parameters
    ----------
    frame
        What ``decode`` returned.
    layout
        What was agreed. Nothing is allocated before everything is compared with it.
    finite
        Whether NaN and infinity are rejected.
    most_norm
        The largest Euclidean norm that a tensor of floats may have, if any.

    Raises
    ------
    Malformed
        If anything else came; the message names the tensor.
    ExtremeValues
        If all is as agreed, but values are not finite or too large.
    """
    check_layout(frame, layout)
    tensors = {name: torch.empty(shape, dtype=dtype) for name, (dtype, shape) in layout.items()}
    for tensor, payload in zip(frame.envelope.tensors, frame.payloads, strict=True):
        _fill(tensors[tensor.name], payload)
        _check_values(tensor.name, tensors[tensor.name], finite, most_norm)
    return tensors


def read_into(frame: Frame, name: str, out: Tensor, *, finite: bool = True, most_norm: float | None = None) -> None:
    """Copy the tensor ``name`` into ``out``, such as a row of a bigger tensor, whose dtype and shape it must have.

    Whether ``frame`` has other tensors is for ``check_layout`` to say.

    Raises
    ------
    Malformed
        If it is missing or another, and ``out`` is as before; or if its values are malformed, and ``out`` holds zeros.
    ExtremeValues
        If they are not finite or too large; ``out`` holds zeros.
    """
    position = next((place for place, tensor in enumerate(frame.envelope.tensors) if tensor.name == name), None)
    if position is None:
        raise Malformed(f"the {frame.kind} message has no tensor {name!r}")
    _check_tensor(frame.envelope.tensors[position], out.dtype, tuple(out.shape))
    out = out.detach()
    direct = out.device.type == "cpu" and out.is_contiguous()
    values = out if direct else torch.empty(out.shape, dtype=out.dtype)
    _fill(values, frame.payloads[position])
    try:
        _check_values(name, values, finite, most_norm)
    except (Malformed, ExtremeValues):
        out.zero_()
        raise
    if not direct:
        out.copy_(values)


def check_numbers(labels: Tensor, classes: int, ignored: Collection[int] = ()) -> None:
    """Check that ``labels`` ``[b, ...]`` are numbers of classes, 0 to ``classes`` − 1, or ignored ones.

    Raises
    ------
    Malformed
        If one is not.
    """
    if labels.numel() == 0:
        return
    least, most = torch.aminmax(labels)
    if least >= 0 and most < classes:
        return
    wrong = (labels < 0) | (labels >= classes)
    for number in ignored:
        wrong &= labels != number
    if bool(wrong.any()):
        raise Malformed(f"a label is outside 0 to {classes - 1}")


def check_buffers(tensors: Weights) -> None:
    """Raise Malformed if a count or a variance of a normalisation layer is negative: it would become NaN later."""
    for name, tensor in tensors.items():
        if name.endswith(("running_var", "num_batches_tracked")) and bool((tensor < 0).any()):
            raise Malformed(f"tensor {name!r}: expected nothing below zero")


def check_norm(name: str, values: Tensor, most: float) -> None:
    """Raise ExtremeValues if the norm of decoded values is greater than ``most``, or is NaN."""
    norm = float(torch.linalg.vector_norm(values))
    if not norm <= most:
        raise ExtremeValues(f"{name}: expected a norm of at most {most:g}, got a greater one, NaN or infinity")


def _some(names: Iterable[str], most: int = 3) -> str:
    ordered = sorted(names)
    rest = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(map(repr, ordered[:most])) + rest or "none"


def _check_tensor(tensor: messages_pb2.Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    came = DTYPES[tensor.dtype], tuple(tensor.shape)
    if came != (dtype, shape):
        expected, got = (f"{each} {list(sizes)}" for each, sizes in ((dtype, shape), came))
        raise Malformed(f"tensor {tensor.name!r}: expected {expected}, got {got}")


def _fill(out: Tensor, payload: memoryview) -> None:
    # A view of memory with zeros in its shape cannot be cast.
    if payload.nbytes:
        memory_of(out).cast("B")[:] = payload


def _check_values(name: str, tensor: Tensor, finite: bool, most_norm: float | None) -> None:
    if tensor.dtype == torch.bool and bool((tensor.view(torch.uint8) > 1).any()):
        raise Malformed(f"tensor {name!r}: a byte is neither true nor false")
    if not tensor.is_floating_point():
        return
    norm = _norm(tensor) if finite or most_norm is not None else 0.0
    if finite and not isfinite(norm) and not _is_finite(tensor):
        raise ExtremeValues(f"tensor {name!r}: expected finite numbers, got NaN or infinity")
    # NaN compares as False.
    if most_norm is not None and not norm <= most_norm:
        raise ExtremeValues(f"tensor {name!r}: expected a norm of at most {most_norm:g}, got a greater one")


def _norm(tensor: Tensor) -> float:
    """Return the norm, in double precision only where single precision overflows; infinite if that does too."""
    precision = torch.promote_types(tensor.dtype, torch.float32)
    norm = float(torch.linalg.vector_norm(tensor, dtype=precision))
    return norm if isfinite(norm) else float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def _is_finite(tensor: Tensor) -> bool:
    # A finite norm proves it twenty times faster than `isfinite`; this is for norms that overflow.
    least, most = torch.aminmax(tensor)
    return isfinite(least.item()) and isfinite(most.item())
