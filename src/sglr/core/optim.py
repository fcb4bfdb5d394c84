"""Optimizers of ``torch.optim`` by name, and learning-rate schedules."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sglr.core.errors import UsageError, unknown
from sglr.core.spec import Option, Spec, options_of

NEEDS_CLOSURE = {"LBFGS", "SparseAdam"}


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):  # the last is of brackets too deep
        raise ValueError("expected a number, True, False, None, a quoted text, or a list of these") from None


Literals = Annotated[Any, BeforeValidator(_literal)]
"""An option as Python writes it: ``0.9``, ``True``, ``None``, ``(0.9, 0.99)``."""


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer of ``torch.optim`` and its options.

    Parameters
    ----------
    name
        The class's name in any case, e.g. ``"adam"``.
    options
        Keyword arguments of its constructor, without the learning rate.
    """

    name: str = "adam"
    options: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> OptimizerSpec:
        """Read ``"sgd"`` or ``"sgd:momentum=0.9,nesterov=True"``.

        Raises
        ------
        UsageError
            If torch has no such optimizer, or it has no such option.
        """
        written = Spec.parse("optimizer", text)
        name = written.name.lower()
        known = _known_optimizers()
        if name not in known:
            raise unknown("optimizer", written.name, known)
        accepted = inspect.signature(known[name]).parameters.keys() - {"params", "lr"}
        spec = cls(name, written.options({option: Option(Literals) for option in sorted(accepted)}))
        try:
            spec.build([nn.Parameter(torch.zeros(1))], 1e-3)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise UsageError("optimizer", text, str(error), "correct that option") from error
        return spec

    def build(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        """Return the optimizer over ``parameters``; one fused kernel does the update where torch has one."""
        known = _known_optimizers()[self.name]
        options = dict(self.options)
        choices = {"fused", "foreach", "differentiable"} & options.keys()
        if "fused" in inspect.signature(known).parameters and not choices:
            options["fused"] = True
        make: Callable[..., torch.optim.Optimizer] = known if "differentiable" in choices else _eager(self.name)
        return make(parameters, lr=rate, **options)

    def __str__(self) -> str:
        tail = ",".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.name}:{tail}" if tail else self.name


@cache
def _eager(name: str) -> type[torch.optim.Optimizer]:
    return eager_optimizer(_known_optimizers()[name])


def _known_optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    found = {}
    for name, value in vars(torch.optim).items():
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and name not in NEEDS_CLOSURE:
            found[name.lower()] = value
    del found["optimizer"]
    return found


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all of the optimizer's parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def give_gradients(parameters: Iterable[Tensor], gradients: Iterable[Tensor]) -> None:
    """Assign gradients to parameters in the parameters' memory layout, which fused kernels need."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.contiguous()


def _step(progress: float) -> float:
    return 0.1 if progress >= 0.8 else 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "step": _step,
    "constant": lambda _: 1.0,
    "cosine": _cosine,
}
"""Factor on the learning rate by progress in [0, 1); ``step`` is the paper's code: ×0.1 at 80 % of the epochs."""


def scheduled_rate(schedule: str, rate: float, epoch: int, epochs: int) -> float:
    """Return the learning rate of an epoch (counted from 0)."""
    return rate * SCHEDULES[schedule](epoch / epochs)


PLATEAU = "plateau"
"""The schedule that follows the validation score instead of the epoch's number."""


@dataclass(frozen=True)
class Plateau:
    """Lower the rates when the validation score stops improving: ``torch.optim.lr_scheduler.ReduceLROnPlateau``.

    Both rates, the clients' and the server's, are lowered together; the parameters are torch's.
    """

    factor: Annotated[float, Field(gt=0, lt=1)] = field(default=0.1, metadata={"help": "what rates are multiplied by"})
    patience: Annotated[int, Field(ge=0)] = field(
        default=10, metadata={"help": "validations without improvement that are borne"}
    )
    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] = field(
        default=1e-4, metadata={"help": "least change that is an improvement"}
    )
    threshold_mode: Literal["rel", "abs"] = field(
        default="rel", metadata={"help": "whether the threshold is a share of the best score"}
    )
    cooldown: Annotated[int, Field(ge=0)] = field(
        default=0, metadata={"help": "validations after a change that do not count"}
    )
    min_lr: Annotated[float, Field(ge=0, allow_inf_nan=False)] = field(
        default=0.0, metadata={"help": "rates do not go below"}
    )
    eps: Annotated[float, Field(ge=0, allow_inf_nan=False)] = field(
        default=1e-8, metadata={"help": "smaller changes of a rate are left out"}
    )

    def after(
        self, state: Mapping[str, Any] | None, rates: Sequence[float], score: float, *, higher_is_better: bool
    ) -> dict[str, Any]:
        """Return the state after a validation.

        Parameters
        ----------
        state
            What the call before returned; None before the first.
        rates
            The rates to begin with, the clients' and the server's.
        score
            The score that is monitored.
        higher_is_better
            Whether larger scores are better.

        Returns
        -------
        dict
            ``rates`` to go on with, and torch's ``best``, ``num_bad_epochs`` and ``cooldown_counter``.
        """
        known = dict(state or {})
        groups = [{"params": [nn.Parameter(torch.zeros(()))], "lr": rate} for rate in known.pop("rates", None) or rates]
        optimizer = torch.optim.SGD(groups)
        scheduler = ReduceLROnPlateau(optimizer, "max" if higher_is_better else "min", **vars(self))
        if known:
            scheduler.load_state_dict(known)
        scheduler.step(score)
        found = {name: getattr(scheduler, name) for name in ("best", "num_bad_epochs", "cooldown_counter")}
        return {"rates": [group["lr"] for group in optimizer.param_groups], **found}


def parse_schedule(text: str) -> tuple[str, Plateau | None]:
    """Read ``"cosine"`` or ``"plateau:factor=0.5,patience=3"``; return the name, and the plateau's parameters.

    Raises
    ------
    UsageError
        If there is no such schedule, or it has no such parameter.
    """
    written = Spec.parse("schedule", text)
    known = [*SCHEDULES, PLATEAU]
    if written.name not in known:
        raise unknown("schedule", written.name, known)
    options = written.options(options_of(Plateau) if written.name == PLATEAU else {})
    return written.name, Plateau(**options) if written.name == PLATEAU else None


WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods of ``torch.optim.Optimizer`` that are wrapped, beside ``step``."""


def eager_optimizer(optimizer: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return the same optimizer with its methods unwrapped, for all options but ``differentiable``."""
    own: dict[str, Any] = {name: inspect.unwrap(getattr(optimizer, name)) for name in WRAPPED}
    own["step"] = torch.no_grad()(inspect.unwrap(optimizer.step))
    return type(optimizer.__name__, (optimizer,), own)
