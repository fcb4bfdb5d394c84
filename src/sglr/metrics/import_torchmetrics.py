"""Import torchmetrics when metrics of it are asked for: it takes a second, and most runs need none."""

from __future__ import annotations

import sys
from importlib import import_module

from sglr.core.errors import UsageError
from sglr.core.model import shown
from sglr.system.torchvision import load_torchvision


def import_torchmetrics() -> None:
    """Import torchmetrics, so that ``from torchmetrics import ...`` works from here on.

    Raises
    ------
    UsageError
        If it does not load, mostly for the sake of a torchvision that belongs to another torch.
    """
    if "torchmetrics" in sys.modules:
        return
    try:
        load_torchvision()
        import_module("torchmetrics")
    except (ImportError, RuntimeError, OSError) as error:
        remedy = "install the torchvision that belongs to this torch, or remove it"
        raise UsageError("metrics", "torchmetrics", f"can't be imported ({shown(error)})", remedy) from error
