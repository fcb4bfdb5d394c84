"""Methods of which some law speaks; of all the others it says why not."""

from __future__ import annotations

from sglr.core.registry import METHODS

OTHER_STEPS = {
    "cyclesl": "clients are told the gradients at the weights that the server has after its step",
}
"""Methods that with one client do not train as the unsplit model does."""

UNSPLIT = [name for name in METHODS.names() if name not in OTHER_STEPS]
"""Methods that with one client take the steps of the unsplit model (law 1)."""

WITH_TAIL = [
    name for name in METHODS.names() if not (METHODS.load(name).whole_model or METHODS.load(name)().needs_labels)
]
"""Methods whose server can do without labels (U-shape)."""
