"""Packages that only some data need: imported where they are used, and named with their extra if they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sglr.core.errors import UsageError


def optional(package: str, extra: str, dataset: str) -> Any:
    """Import a package that an extra of sglr installs.

    Parameters
    ----------
    package
        Its name.
    extra
        The extra.
    dataset
        The data set that needs it, for the message.

    Raises
    ------
    UsageError
        If it is not installed, or a library that it needs is missing.
    """
    try:
        return import_module(package)
    except (ImportError, OSError) as error:
        problem = f"needs the package {package}, which can't be imported ({error})"
        raise UsageError("dataset", dataset, problem, f"pip install 'sglr[{extra}]'") from error
