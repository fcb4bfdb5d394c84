"""Methods of which some law speaks; of all the others it says why not."""

from __future__ import annotations

from sglr.core.registry import METHODS

OTHER_STEPS = {
    "gas": "the server learns from generated samples, too",
    "cyclesl": "clients are told the gradients at the weights that the server has after its step",
}
"""Methods that with one client do not train as the unsplit model does."""

UNSPLIT = [name for name in METHODS.names() if name not in OTHER_STEPS]
"""Methods that with one client take the steps of the unsplit model (law 1)."""


def _does_without_labels(name: str) -> bool:
    kind = METHODS.load(name)
    return not (kind.whole_model or kind().needs_labels or kind.settings.get("label_prior") == "pooled")


WITH_TAIL = [name for name in METHODS.names() if _does_without_labels(name)]
"""Methods whose server can do without labels (U-shape)."""
