"""Download data sets from the Hugging Face hub."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
from numpy.typing import NDArray

from sglr.core.errors import UsageError
from sglr.data.images.dataset import Pixels
from sglr.data.images.decode import Picture, PictureReader
from sglr.system.extras import installing, is_installed

PATIENCE_S = 5.0  # timeout after which the hub counts as unreachable


def fetch(repository: str, remedy: str, missing: str = "") -> Any:
    """Return the ``datasets.DatasetDict`` of a repository, or of a local folder of data files.

    Parameters
    ----------
    repository
        Its name on the hub, such as ``"ylecun/mnist"``, or a local path.
    remedy
        What the user can do if the download fails.
    missing
        Which files were looked for on this machine before; the message starts with it.

    Raises
    ------
    UsageError
        If the download fails.
    """
    tried = f"{missing}, and " if missing else ""
    if not is_installed("datasets"):
        problem = f"{tried}fetching it from Hugging Face needs the package datasets, not installed here"
        raise UsageError("dataset", repository, problem, f"{installing('hf')}, or {remedy}")
    import datasets

    try:
        with _offline_if_unreachable(Path(repository).exists()):
            return datasets.load_dataset(repository)
    # The hub's client raises errors of many libraries, and these change between versions.
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        problem = f"{tried}fetching it from Hugging Face failed ({type(error).__name__}: {first_line})"
        raise UsageError("dataset", repository, problem, remedy) from error


def hub_pixels(split: Any, image_column: str, label_column: str, source: str) -> Pixels:
    """Decode the images of one split of a hub data set whose labels are class numbers."""
    labels = np.asarray(split[label_column][:], dtype=np.int64)
    classes = [str(number) for number in range(labels.max(initial=0) + 1)]
    return PictureReader().read(hub_pictures(split, image_column, labels), source, classes)


def hub_pictures(split: Any, image_column: str, labels: NDArray[np.int64]) -> Iterator[Picture]:
    """Yield the pictures of one split, not yet decoded."""
    from datasets import Image

    stored = split.cast_column(image_column, Image(decode=False))[image_column]
    for row, (entry, label) in enumerate(zip(stored, labels.tolist(), strict=True)):
        content = entry["bytes"] if entry["bytes"] is not None else Path(entry["path"])
        yield Picture(f"row {row}" if entry["path"] is None else entry["path"], content, label)


@contextmanager
def _offline_if_unreachable(local: bool) -> Iterator[None]:
    """Use only the cache if the hub is unreachable, because its client would retry for a long time."""
    from datasets import config
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    offline = local or any(before) or not _reachable(constants.ENDPOINT)
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = offline
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _reachable(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(endpoint, timeout=PATIENCE_S):
            return True
    except HTTPError:
        return True
    except OSError:
        return False
