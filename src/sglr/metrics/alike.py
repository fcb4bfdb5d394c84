"""Which metrics are updated alike, so that one set of sums serves several (torchmetrics' compute groups).

torchmetrics compares states after the first batch, which can be equal by chance. Here the code that updates them and
what it can read must be equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torchmetrics import Metric

_OF_SCORES = frozenset({"__init__", "compute", "plot", "__module__", "__doc__", "_abc_impl", "__annotations__"})
"""What may differ between two classes of metrics whose sums are equal."""


def updated_alike(one: Metric, other: Metric) -> bool:
    """Say whether two metrics always have equal sums: equal code but for the score, and equal parameters for it."""
    if list(one.children()) or list(other.children()):
        return False
    return _same_code(type(one), type(other)) and _same_values(_read_by_update(one), _read_by_update(other))


def _same_code(one: type[Any], other: type[Any]) -> bool:
    names = {name for name in {*dir(one), *dir(other)} - _OF_SCORES if _is_code(one, name) or _is_code(other, name)}
    return all(getattr(one, name, None) is getattr(other, name, None) for name in names)


def _is_code(kind: type[Any], name: str) -> bool:
    return callable(getattr(kind, name, None)) and not (name.startswith("__") and name.endswith("__"))


def _read_by_update(metric: Metric) -> dict[str, Any]:
    own = {name: value for name, value in vars(metric).items() if not name.startswith("_")}
    return own | dict(metric.named_buffers()) | metric._defaults


def _same_values(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Compare what both have: the same code reads nothing else."""
    common = (one.keys() & other.keys()) - {"update", "compute", "validate_args"}
    return all(_equal(one[name], other[name]) for name in common)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool(torch.equal(one, other))
    return type(one) is type(other) and bool(one == other)
