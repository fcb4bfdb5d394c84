"""Presets: named sets of settings, one TOML file each.

A preset says how to train, and leaves method, model, data and clients to the user. Settings that are given override it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sglr.core.errors import unknown

PRESET = "preset"
"""The key that names a preset among settings."""

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of all presets."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def summary(name: str) -> str:
    """Return one line about a preset."""
    return str(_read(name)["summary"])


def settings(name: str) -> dict[str, Any]:
    """Return the settings of a preset.

    Raises
    ------
    UsageError
        If there is no such preset; the nearest name is suggested.
    """
    return dict(_read(name)["settings"])


def expanded(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those of the preset that they name in its place; those that are given win.

    Raises
    ------
    UsageError
        If there is no such preset.
    """
    own = {key.replace("-", "_"): value for key, value in given.items()}
    name = own.pop(PRESET, None)
    return own if name in (None, "none") else settings(str(name)) | own


def _read(name: str) -> dict[str, Any]:
    if name not in names():
        raise unknown(PRESET, name, names())
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
