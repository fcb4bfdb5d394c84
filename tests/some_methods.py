"""Methods of which some law speaks; of all the others it says why not."""

from __future__ import annotations

from typing import Any

from sglr.core.method import Method
from sglr.core.registry import METHODS

FITTING: dict[str, dict[str, Any]] = {
    "cse-fsl": {"h": 1},
    "fsl-sage": {"h": 1, "align_every": 1, "align_epochs": 3, "memory": 5},
}
"""Parameters of methods that do not fit trainings of a few steps and epochs by default."""


def make_method(name: str) -> Method:
    """Build a method with its defaults, or with those that fit tiny trainings."""
    method: Method = METHODS.load(name)(**FITTING.get(name, {}))
    return method


OTHER_STEPS = {
    "locfedmix-sl": "a client's own decoder has a loss that its segment steps on, too",
    "gas": "the server learns from generated samples, too",
    "cse-fsl": "a client's own head has the loss that its segment steps on",
    "fsl-sage": "a client's own head estimates the gradient that its segment steps on",
    "splitgp": "a client's own head has a loss that its segment steps on, too",
    "cyclesl": "clients are told the gradients at the weights that the server has after its step",
}
"""Methods that with one client do not train as the unsplit model does."""

UNSPLIT = [name for name in METHODS.names() if name not in OTHER_STEPS]
"""Methods that with one client take the steps of the unsplit model (law 1)."""


def _does_without_labels(name: str) -> bool:
    kind = METHODS.load(name)
    return not (kind.whole_model or kind.head or kind().needs_labels or kind.settings.get("label_prior") == "pooled")


WITH_TAIL = [name for name in METHODS.names() if _does_without_labels(name)]
"""Methods whose server can do without labels (U-shape)."""
