"""What classes clients have: written into a new run's folder, and compared when the run is resumed."""

from __future__ import annotations

import json
from typing import Any

from sglr.core.data import ClientData
from sglr.core.errors import UsageError
from sglr.data.class_counts import classes_per_client
from sglr.runs.folder import Run, damage_explained
from sglr.storage.files import write_text
from sglr.storage.json_files import read_object

CLASSES = "classes.json"
"""How many samples of each class every client has."""

SHOWN = 1000
"""Clients, the first ones, whose classes the report shows."""


def record_classes(run: Run, data: ClientData) -> None:
    """Write what clients have, unless other sites hold the data."""
    if len(data.train):
        write_text(run.path / CLASSES, json.dumps(_classes(data)) + "\n")


def check_same_classes(run: Run, data: ClientData) -> None:
    """Refuse to go on with other data: a file was changed, or another version of sglr divided it otherwise.

    Raises
    ------
    UsageError
        If clients do not have what they had when the run began.
    """
    path = run.path / CLASSES
    with damage_explained(run.path, f"restore its {CLASSES}"):
        known = read_object(path)
    if len(data.train) and known is not None and known != _classes(data):
        problem = "its clients would not have the data that they had when the run began"
        remedy = "restore the data, use the version of sglr that began the run, or start a new one"
        raise UsageError("run", run.path, problem, remedy)


def _classes(data: ClientData) -> dict[str, Any]:
    """Return how often each client has each class; where samples have no class, how many it has and their sum."""
    counts = {"classes": list(data.classes), "counts": classes_per_client(data, SHOWN).tolist()}
    if data.classes:
        return counts
    owned = [data.train.targets[rows] for rows in data.indices[:SHOWN]]
    return counts | {"samples": list(map(len, owned)), "sums": [float(targets.double().sum()) for targets in owned]}
