"""Import torchvision, and what needs it, beside any build of torch.

PyPI's torchvision has compiled operators for torch's CUDA build. Beside the CPU build they don't load, and importing
torchvision raises "operator torchvision::nms does not exist", though its networks need none of these operators. So
they are declared here, without code, where that happens; detection alone would miss them.
"""

from __future__ import annotations

import socket
import sys
from functools import cache
from importlib import import_module
from typing import Any
from urllib.request import getproxies

import torch

from sglr.core.errors import UsageError
from sglr.system.extras import is_installed, optional

_OPERATORS = ("nms", "qnms")
"""Operators that torchvision mentions when it is imported, whether they loaded or not."""
_MISSING = "operator torchvision::"
REMEDY = (
    "install the torchvision of your torch: pip install torchvision --index-url https://download.pytorch.org/whl/cpu"
)
"""How torchvision is installed with operators that load beside the CPU build of torch."""


def vision_library(package: str, field: str, value: object) -> Any:
    """Import torchvision, timm or another package that imports torchvision.

    Parameters
    ----------
    package
        Its name.
    field, value
        What asks for it, for the message.

    Raises
    ------
    UsageError
        If it is not installed, or can't be imported beside this build of torch.
    """
    try:
        return optional(package, "vision", field, value)
    except RuntimeError as error:
        problem = f"needs torchvision, which does not load beside torch {torch.__version__} ({error})"
        raise UsageError(field, value, problem, REMEDY) from error


def declare_operators() -> None:
    """Let torchvision be imported where its operators don't load, if it is installed; otherwise change nothing."""
    if "torchvision" in sys.modules or not is_installed("torchvision"):
        return
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declared()
        import_module("torchvision")


def reachable(host: str) -> bool:
    """Return whether a host's name can be looked up; it is taken for granted where a proxy does that."""
    if getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False


@cache
def _declared() -> Any:
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in _OPERATORS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
