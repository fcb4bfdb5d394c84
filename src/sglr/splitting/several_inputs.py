"""A model that takes several inputs, made to take rows: its own forward pass is called with what a row holds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.splitting.derived import derive
from sglr.splitting.input_layout import InputLayout

Passing = Literal["named", "placed", "whole"]
"""How a forward pass is given inputs: each by its name, one after another, or all in one dict or tuple."""

HELD = "sglr_inputs"
"""The attribute of a module that takes rows which holds their layout."""

GIVE = "give each sample's inputs by name: dataset=({'image': x, 'age': z}, y)"


class _TakesRows(nn.Module):
    """A model that takes rows ``[b, L]`` of several inputs."""

    sglr_inputs: InputLayout
    sglr_passing: Passing

    def forward(self, rows: Tensor) -> Any:
        """Return the model's output for the inputs that rows hold."""
        return _passed(super().forward, rows, self.sglr_inputs, self.sglr_passing)


class PackInputs(nn.Module):
    """Makes rows of several inputs, given as a dict or a tuple: what stands before a trained network.

    Parameters
    ----------
    layout
        The inputs.
    """

    def __init__(self, layout: InputLayout) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, inputs: Mapping[str, Tensor] | tuple[Tensor, ...]) -> Tensor:
        """Return rows ``[b, L]``; one that is given as such stays as it is."""
        if isinstance(inputs, Tensor):
            return inputs
        named = inputs if isinstance(inputs, Mapping) else dict(zip(map(str, range(len(inputs))), inputs, strict=True))
        if set(named) != set(self.layout.names):
            problem = f"the network takes {', '.join(self.layout.names)}"
            raise UsageError("inputs", ", ".join(named), problem, "give inputs of these names")
        return self.layout.pack(named)

    def extra_repr(self) -> str:
        """Name the inputs."""
        return str(self.layout)


def called_with(model: nn.Module, rows: Tensor, layout: InputLayout | None) -> Any:
    """Return what a model makes of rows ``[b, L]`` of several inputs, or of one input where there is no layout."""
    passing = _passing(model, layout)
    return model(rows) if layout is None or passing is None else _passed(model, rows, layout, passing)


def _passed(function: Callable[..., Any], rows: Tensor, layout: InputLayout, passing: Passing) -> Any:
    values = layout.unpack(rows)
    if passing == "named":
        return function(**values)
    if passing == "placed":
        return function(*values.values())
    return function(values if layout.named else tuple(values.values()))


def taking_rows(model: nn.Module, layout: InputLayout | None) -> nn.Module:
    """Make a model take rows of several inputs, in place; return it. Without a layout it stays as it is.

    Raises
    ------
    UsageError
        If its forward pass does not take these inputs.
    """
    passing = _passing(model, layout)
    if layout is None or passing is None:
        return model
    found: Any = derive(model, _TakesRows)
    found.sglr_inputs, found.sglr_passing = layout, passing
    made: nn.Module = found
    return made


def no_longer_taking_rows(part: nn.Module) -> None:
    """Give a part of a model that took rows its own forward pass again, in place."""
    if HELD in vars(part):
        part.__class__ = type(part).__bases__[1]
        delattr(part, HELD)


def hand_on_layout(whole: nn.Module, lower: nn.Module) -> None:
    """Let a model's lower segment know the layout of its inputs, if the model has one."""
    layout = vars(whole).get(HELD)
    if layout is not None:
        setattr(lower, HELD, layout)


def layout_of(module: nn.Module, rows: Tensor) -> InputLayout | None:
    """Return the layout of the rows that a module takes; None where samples have one input."""
    for each in module.modules():
        found = vars(each).get(HELD)
        if isinstance(found, InputLayout):
            return found if rows.shape[1:] == (found.size,) else None
    return None


def other_inputs(module: nn.Module, inputs: Tensor) -> Tensor:
    """Return other valid inputs ``[b, ...]`` of a module than those given, to try it on."""
    layout = layout_of(module, inputs)
    if layout is not None:
        return layout.varied(inputs)
    return inputs.flip(-1) if inputs.dim() > 1 else inputs.flip(0)


def _passing(model: nn.Module, layout: InputLayout | None) -> Passing | None:
    names = getattr(model, "sglr_input_names", None)
    if layout is not None and isinstance(names, tuple) and not {names[0]} <= set(layout.names) <= set(names):
        problem = f"it takes {', '.join(names)}, and each sample has {', '.join(layout.names)}"
        raise UsageError("model", type(model).__name__, problem, "give inputs these names")
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # as of a module that torch.jit has traced
        signature = inspect.signature(lambda *inputs: inputs)
    every = list(signature.parameters.values())
    parameters = [each for each in every if each.kind not in _MANY]
    required = [each.name for each in parameters if each.default is each.empty]
    if layout is None:
        if len(required) > 1:
            problem = f"its forward takes {', '.join(required)}, and each sample has one input"
            raise UsageError("model", type(model).__name__, problem, GIVE)
        return None
    return _fitting_call(model, layout, every, required)


_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _fitting_call(
    model: nn.Module, layout: InputLayout, every: list[inspect.Parameter], required: list[str]
) -> Passing:
    kinds = {each.kind for each in every}
    parameters = [each for each in every if each.kind not in _MANY]
    known = {each.name for each in parameters if each.kind is not each.POSITIONAL_ONLY}
    strange = [name for name in layout.names if name not in known]
    by_name = not strange or inspect.Parameter.VAR_KEYWORD in kinds
    if layout.named and by_name and set(required) <= set(layout.names):
        return "named"
    places = [each for each in parameters if each.kind is not each.KEYWORD_ONLY]
    most = len(layout.names) if inspect.Parameter.VAR_POSITIONAL in kinds else len(places)
    if not layout.named and len(required) <= len(layout.names) <= most:
        return "placed"
    if len(required) <= 1 and parameters and len(strange) == len(layout.names):
        return "whole"
    raise _unfit(model, layout, parameters)


def _unfit(model: nn.Module, layout: InputLayout, parameters: list[inspect.Parameter]) -> UsageError:
    told = ", ".join(each.name if each.default is each.empty else f"{each.name}=…" for each in parameters)
    what = f"each sample has {', '.join(layout.names)}" if layout.named else f"each sample has {len(layout.names)}"
    problem = f"its forward takes ({told}), and {what}"
    return UsageError("model", type(model).__name__, problem, "give inputs the names of these parameters")
