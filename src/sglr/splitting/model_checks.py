"""Check once, before it is cut, that a model can be trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sglr.core.errors import UsageError
from sglr.core.weights import trained_of
from sglr.splitting.input_layout import InputLayout
from sglr.splitting.several_inputs import called_with


def given_shapes(model: nn.Module, example: Tensor, layout: InputLayout | None = None) -> nn.Module:
    """Initialise a model's lazy layers by a forward pass of ``example`` ``[b, ...]``; return the model.

    A ``layout`` says which inputs the rows of the example hold, which a model that is the user's own takes.

    Raises
    ------
    UsageError
        If it has lazy layers and fails on the example or never calls one of them, or weights have no values.
    """
    tensors = [*model.parameters(), *model.buffers()]
    empty = [tensor for tensor in tensors if not is_lazy(tensor) and tensor.is_meta]
    if empty:
        problem = f"{len(empty)} of its weights have no values (they are on the meta device)"
        raise UsageError("model", type(model).__name__, problem, "load its weights first")
    if any(map(is_lazy, tensors)):
        _try_on(model, example, layout)
    return model


def _try_on(model: nn.Module, example: Tensor, layout: InputLayout | None) -> None:
    training = model.training
    try:
        with torch.no_grad():
            called_with(model.eval(), example, layout)
    except Exception as error:  # a model may raise anything
        raise _not_made(model, f"raised {type(error).__name__}: {' '.join(str(error).split())}") from error
    missing = [name for name, weight in model.named_parameters() if is_lazy(weight)]
    if missing:
        raise _not_made(model, f"left {missing[0]} without a shape")
    model.train(training)


def _not_made(model: nn.Module, what: str) -> UsageError:
    problem = f"its lazy layers get their shapes from an input, but a trial with two samples {what}"
    return UsageError("model", type(model).__name__, problem, "give the layers their shapes, as nn.Linear does")


def check_weights(model: nn.Module) -> None:
    """Refuse a model whose weights can't be trained.

    Raises
    ------
    UsageError
        If no weight is trained, a trained weight is not in single precision, a weight is complex, or one has values
        that are not finite.
    """
    trained = trained_of(model)
    if not trained:
        frozen = any(True for _ in model.parameters())
        why = "all its weights are frozen (requires_grad=False)" if frozen else "it has no weights"
        remedy = "leave requires_grad of some weights True" if frozen else "give another model"
        raise UsageError("model", type(model).__name__, f"nothing to train: {why}", remedy)
    for name, weight in model.named_parameters():
        _check_weight(name, weight, trained=name in trained)
    for name, buffer in model.named_buffers():
        if buffer.is_complex() or bool(torch.isnan(buffer).any()):
            what = "complex numbers" if buffer.is_complex() else "values that are not numbers (NaN)"
            raise UsageError("model", name, f"this buffer has {what}", "give a model of real, finite numbers")


def _check_weight(name: str, weight: Tensor, *, trained: bool) -> None:
    kind = str(weight.dtype).removeprefix("torch.")
    if weight.is_complex():
        problem = f"this weight is complex ({kind}), but only real numbers can be stored and sent"
        raise UsageError("model", name, problem, "store it as two real weights (torch.view_as_complex in forward)")
    if trained and weight.dtype != torch.get_default_dtype():
        wanted = str(torch.get_default_dtype()).removeprefix("torch.")
        problem = f"this weight is {kind}, but weights are trained as {wanted}"
        remedy = "call model.float() first; --precision bf16 computes in half precision"
        raise UsageError("model", name, problem, remedy)
    if not weight.is_floating_point():
        return
    values = weight.detach().float()
    # A frozen mask may be infinite.
    bad = int((~torch.isfinite(values) if trained else torch.isnan(values)).sum())
    if bad:
        problem = f"{bad} of the {weight.numel()} values of this weight are not finite"
        raise UsageError("model", name, problem, "give a model with finite weights")
