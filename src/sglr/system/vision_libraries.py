"""Import torchvision, and what needs it, for models by name: what is missing is told with the remedy."""

from __future__ import annotations

import socket
from typing import Any
from urllib.request import getproxies

import torch

from sglr.core.errors import UsageError
from sglr.system.extras import optional

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


def reachable(host: str) -> bool:
    """Return whether a host's name can be looked up; it is taken for granted where a proxy does that."""
    if getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False
