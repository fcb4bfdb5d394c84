"""Build a model by name: a built-in or plugged-in one, a library's (``timm:resnet18``), or the user's own function.

A user who opens a stranger's run folder did not choose the code that its settings name. Such code must be installed:
neither the current directory nor the folder is searched, and modules of Python and of sglr are refused, because they
hold no models but functions that do other things.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from torch import nn

from sglr.core.errors import UsageError, refuse_long, unknown
from sglr.core.registry import MODELS, NAMED_MODELS, model_prefix

FOR_TOKENS = "a model that embeds them: transformer with task = language, or one of your own"
"""What to use where inputs are tokens."""

_REFUSED = frozenset((*sys.stdlib_module_names, "sglr"))


OF_SEVERAL = ("hf",)
"""Libraries whose models may take several inputs of each sample."""

InputShape: TypeAlias = tuple[int, ...] | Mapping[str, tuple[int, ...]]
"""Shape of one input, or those of several inputs by name."""


@dataclass(frozen=True)
class ModelRequest:
    """What the builder of a library's models is asked for: one file each in ``models/named/``.

    Parameters
    ----------
    name
        What follows the prefix: ``"resnet18"`` of ``"timm:resnet18"``.
    input_shape
        Shape of one input, without the batch dimension.
    classes
        Number of classes.
    pretrained
        Whether it has the library's pretrained weights; None for what is usual for the library.
    weights
        A file of weights to begin with, instead of the library's.
    spec
        The whole name, for messages.
    output_shape
        Shape of one sample's output; empty for one row of ``classes`` values.
    kept
        The folder with what a run that is read keeps of the model; None for a new run.
    several
        Shapes of several inputs of each sample by name, of which ``input_shape`` is one; empty for one input.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int
    pretrained: bool | None
    weights: Path | None
    spec: str
    output_shape: tuple[int, ...] = ()
    kept: Path | None = None
    several: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def unlisted(asked: ModelRequest, names: Iterable[str]) -> UsageError:
    """Return the error that a library has no such model; the nearest of its ``names`` are suggested."""
    prefix = asked.spec.partition(":")[0]
    near = get_close_matches(asked.name, [*names], n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(f'{prefix}:{name}' for name in near)}?" if near else f"see {prefix}'s own list"
    return UsageError("model", asked.spec, f"{prefix} has no such model", remedy)


def build_model(
    spec: str,
    input_shape: InputShape,
    classes: int,
    folder: Path | None = None,
    pretrained: bool | None = None,
    weights: Path | None = None,
    output_shape: tuple[int, ...] = (),
    kept: Path | None = None,
) -> nn.Module:
    """Build the model that ``spec`` names, with weights drawn from torch's global generator, or pretrained ones.

    Parameters
    ----------
    spec
        A registered name such as ``"resnet16"``, a library's such as ``"timm:resnet18"``, or
        ``"package.module:function"`` for a function (or class) of the user's own. It is imported with the current
        directory on the path, and is given ``input_shape`` and ``classes`` as keyword arguments, each if its signature
        takes it.
    input_shape
        Shape of one input, without the batch dimension; of several inputs per sample, by name, which only a function of
        the user's own takes.
    classes
        Number of classes.
    folder
        The run folder that names the model, if the user does not: then only installed code is imported, and a function
        is only called if it is a module's class, or takes ``input_shape`` or ``classes``, so that it builds models.
    pretrained, weights, output_shape, kept
        As of `ModelRequest`; only models of libraries take them.

    Raises
    ------
    UsageError
        If there is no such model, its code is not installed where it must be, it raises an exception, it returns
        something that is not an ``nn.Module``, or it cannot take such inputs.
    """
    refuse_long("model", spec)
    prefix = model_prefix(spec)
    if isinstance(input_shape, Mapping) and prefix not in OF_SEVERAL and (prefix is not None or ":" not in spec):
        raise _takes_one(spec, input_shape)
    if prefix is not None:
        name = spec.partition(":")[2]
        several = input_shape if isinstance(input_shape, Mapping) else {}
        shape = next(iter(several.values())) if isinstance(input_shape, Mapping) else input_shape
        asked = ModelRequest(name, shape, classes, pretrained, weights, spec, output_shape, kept, several)
        with nullcontext() if folder is None else _only_installed(folder.resolve()):
            named: nn.Module = NAMED_MODELS.load(prefix)(asked)
        return named
    if pretrained or weights is not None:
        field, value = ("pretrained", pretrained) if weights is None else ("weights", weights)
        having = ", ".join(f"{name}:NAME" for name in NAMED_MODELS.names())
        raise UsageError(field, value, f"model {spec} has no pretrained weights", f"name a model that has: {having}")
    if ":" not in spec:
        model: nn.Module = MODELS.load(spec)(input_shape, classes)
        return model
    function = own_function("model", spec, folder)
    accepted = _accepted(function, {"input_shape": input_shape, "classes": classes})
    if folder is not None and not accepted and not _is_module_class(function):
        problem = "the run's folder names this function, which takes neither input_shape nor classes"
        raise UsageError("model", spec, problem, f"if you trust it, name it yourself: --model {spec}")
    return built_by(spec, partial(function, **accepted))


def _takes_one(spec: str, shapes: Mapping[str, tuple[int, ...]]) -> UsageError:
    problem = f"takes one input, and each sample has {', '.join(shapes)}"
    remedy = "give a model of your own whose forward takes them: --model package.module:function"
    return UsageError("model", spec, problem, remedy)


def built_by(spec: str, function: Callable[[], Any]) -> nn.Module:
    """Return what the function that is called ``spec`` builds.

    Raises
    ------
    UsageError
        If it raises an exception, or returns something that is not an ``nn.Module``.
    """
    built = called("model", spec, function, "the function")
    if not isinstance(built, nn.Module):
        problem = f"the function returned a {type(built).__name__}, not a torch.nn.Module"
        raise UsageError("model", spec, problem, "return the model itself")
    return built


def called(field: str, spec: str, function: Callable[[], Any], what: str) -> Any:
    """Return what the user's own function returns, which setting ``field`` names; ``what`` it is in messages.

    Raises
    ------
    UsageError
        If it raises an exception.
    """
    try:
        return function()
    except UsageError:
        raise
    except Exception as error:  # it may raise anything
        raise failed(field, spec, f"{what} raised {shown(error)}") from error


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of a model.

    Raises
    ------
    UsageError
        If it can't be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:  # whatever a model holds may refuse to be copied
        problem = f"it cannot be copied ({shown(error)})"
        raise UsageError("model", type(model).__name__, problem, "give a function that builds it") from error


def other_shape(model: str, takes: str, input_shape: tuple[int, ...]) -> UsageError:
    """Return the error that a model takes inputs of another shape, such as "images [channels, height, width]"."""
    problem = f"takes {takes}, but one input has shape {list(input_shape)}"
    if len(input_shape) == 1:  # a row of a table, or a text
        return UsageError("model", model, problem, f"use model = mlp for numbers, or for tokens {FOR_TOKENS}")
    return UsageError("model", model, problem, "use model = mlp, which takes any shape")


def require_image(model: str, input_shape: tuple[int, ...], least: int) -> tuple[int, int, int]:
    """Return ``input_shape`` as (channels, height, width) of an image, at least ``least`` pixels a side.

    Raises
    ------
    UsageError
        If one input is not an image, or it is too small for the model.
    """
    if len(input_shape) != 3:
        raise other_shape(model, "images [channels, height, width]", input_shape)
    channels, height, width = input_shape
    if min(height, width) < least:
        shown = list(input_shape)
        problem = f"needs images of at least {least} x {least} pixels, but one input has shape {shown}"
        smaller = "mlp" if least <= 8 else "cnn or mlp"
        raise UsageError("model", model, problem, f"use larger images, or model = {smaller}")
    return channels, height, width


def own_function(field: str, spec: str, folder: Path | None) -> Callable[..., Any]:
    """Import the user's own function or class.

    Parameters
    ----------
    field
        The setting that names it, such as ``"model"``.
    spec
        ``"package.module:name"``; it is imported with the current directory on the path.
    folder
        The run folder that names it, if the user does not: then only installed code is imported.

    Raises
    ------
    UsageError
        If there is none, its module can't be imported, or its code is not installed where it must be.
    """
    refuse_long(field, spec)
    place, _, name = spec.partition(":")
    module = _import(field, spec, place, folder)
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        remedy = unknown("function", name, own).remedy
        raise UsageError(field, spec, f"module {place} has no function {name!r}", remedy)
    function = getattr(module, name)
    if isinstance(function, nn.Module) or not callable(function):
        problem = f"{name} is a {type(function).__name__}, not a function"
        raise UsageError(field, spec, problem, f"name a function or a class that builds the {field}")
    found: Callable[..., Any] = function
    return found


def _import(field: str, spec: str, place: str, folder: Path | None) -> ModuleType:
    here = str(Path.cwd())
    if folder is None and here not in sys.path:
        # It stays: the user's model may import its own neighbours as late as in its forward pass.
        sys.path.insert(0, here)
    try:
        return import_module(place) if folder is None else import_installed(field, spec, place, folder)
    except UsageError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise failed(field, spec, f"importing {place} raised {shown(error)}") from error
        remedy = f"run from the directory that holds {place.partition('.')[0]}, or install it"
        raise UsageError(field, spec, f"no module {error.name!r} here ({here})", remedy) from error
    except Exception as error:
        raise failed(field, spec, f"importing {place} raised {shown(error)}") from error


def _is_module_class(function: Callable[..., Any]) -> bool:
    return isinstance(function, type) and issubclass(function, nn.Module)


def _accepted(function: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return offered
    keywords = {parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY}
    return {name: value for name, value in offered.items() if name in keywords}


def failed(field: str, spec: str, problem: str) -> UsageError:
    """Return the error for code of the user's own that raised one."""
    return UsageError(field, spec, problem, "correct it, and try it first in Python by itself")


def shown(error: Exception) -> str:
    """Return an error's type and message in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def import_installed(field: str, spec: str, place: str, folder: Path) -> ModuleType:
    """Import module ``place`` of ``spec``, ``package.module:function``, that ``field`` of the run in ``folder`` names.

    Raises
    ------
    UsageError
        If it is not installed outside the folder.
    ModuleNotFoundError
        If a parent of it is installed and it is not there.
    """
    top, inside = place.partition(".")[0], folder.resolve()
    with _only_installed(inside):
        if top in _REFUSED or "__main__" in place.split(".") or not _is_installed(place, inside):
            problem = "the run's folder names this code, which is not installed"
            remedy = f"if you trust it, name it yourself: --{field} {spec} (in Python: {field}={spec!r})"
            raise UsageError(field, spec, problem, remedy)
        return import_module(place)


@contextmanager
def _only_installed(folder: Path) -> Iterator[None]:
    before = sys.path[:]
    sys.path[:] = [entry for entry in before if entry and not Path(entry).resolve().is_relative_to(folder)]
    try:
        yield
    finally:
        sys.path[:] = before


def _is_installed(place: str, folder: Path) -> bool:
    """Say whether a module and the packages around it are there, and all of them outside the folder."""
    words = place.split(".")
    for count in range(1, len(words) + 1):
        # Finding a module imports what is around it, which was looked at before.
        found = find_spec(".".join(words[:count]))
        if found is None or any(place.is_relative_to(folder) for place in _places(found)):
            return False
    return True


def _places(found: ModuleSpec) -> list[Path]:
    origin = [found.origin] if found.has_location and found.origin else []
    return [Path(place).resolve() for place in (*origin, *(found.submodule_search_locations or ()))]
