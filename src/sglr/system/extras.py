"""Packages that not every training needs: extras of sglr install them, and what needs one asks here.

This file says which package belongs to which extra; ``pyproject.toml`` has their versions. They are imported where
they are used, within functions, after `require` or through `optional`: a missing one is told before any work is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from sglr.core.errors import UsageError

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "audio": ("soundfile", "scipy"),
    "data": ("pandas", "pyarrow", "h5py"),
    "energy": ("codecarbon", "zeus"),
    "executorch": ("executorch",),
    "export": ("onnx", "onnxscript", "onnxruntime", "huggingface_hub"),
    "hf": ("datasets", "huggingface_hub"),
    "lora": ("peft",),
    "medical": ("nibabel",),
    "privacy": ("opacus", "sklearn", "scipy"),
    "ray": ("ray",),
    "reproduce": ("scipy", "sklearn"),
    "sites": ("grpc", "google.protobuf", "cryptography", "prometheus_client"),
    "text": ("tokenizers",),
    "track": ("tensorboard", "wandb", "mlflow"),
    "trackio": ("trackio",),
    "transformers": ("transformers", "tokenizers"),
    "vision": ("torchvision", "timm"),
    "watch": ("starlette", "uvicorn"),
}
"""The packages that each extra installs for sglr, as they are imported."""

IMPORTING_TORCHVISION = frozenset(("torchvision", "timm", "transformers", "peft"))
"""Packages that import torchvision where it is installed, which may need help (`sglr.system.torchvision`)."""


def require(extra: str, field: str, value: object, *packages: str) -> None:
    """Refuse a setting whose packages are not installed.

    Parameters
    ----------
    extra
        The extra that installs them.
    field, value
        What was asked for, for the message.
    packages
        Those that are needed; default: all of the extra.

    Raises
    ------
    UsageError
        If one is not installed. The message names the extra.
    """
    missing = [package for package in packages or EXTRAS[extra] if not is_installed(package)]
    if missing:
        what = f"the package{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        raise UsageError(field, value, f"needs {what}, not installed here", installing(extra))


def optional(package: str, extra: str, field: str, value: object) -> Any:
    """Import a package of an extra.

    Parameters
    ----------
    package
        Its name.
    extra, field, value
        As of `require`.

    Raises
    ------
    UsageError
        If it is not installed, or a library that it needs is missing.
    """
    require(extra, field, value, package)
    try:
        if package in IMPORTING_TORCHVISION:
            import_module("sglr.system.torchvision").load_torchvision()
        return import_module(package)
    except (ImportError, OSError) as error:
        problem = f"needs the package {package}, which can't be imported ({error})"
        raise UsageError(field, value, problem, installing(extra)) from error


def is_installed(package: str) -> bool:
    """Return whether a package is installed, without importing it; of ``a.b`` only ``a`` is imported."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def installing(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'sglr[{extra}]'"
